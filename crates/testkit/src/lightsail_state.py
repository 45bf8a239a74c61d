"""What an account of Lightsail holds, and what each operation does to it.

Names are unique in a region across all kinds of resources, as they are at Amazon. Nothing here runs by
itself: `settle` brings what is pending to where it is by now, so whoever looks calls it first. Keys of a
resource that begin with `_` are for this server and never answered.
"""

import base64
import binascii
import copy
import datetime
import ipaddress
import subprocess
import sys
import time
import uuid

ACCOUNT = "111122223333"
NAME_RULE = "Resource names must be at least 2 characters long and contain only alphanumerics, -, _, and ."


def bundle(bundle_id, price, cpu, disk, power, ram, transfer, active=True, platform="LINUX_UNIX", addresses=1):
    size = bundle_id.split("_")[0]
    return {
        "bundleId": bundle_id, "price": price, "cpuCount": cpu, "diskSizeInGb": disk, "instanceType": size,
        "isActive": active, "name": size.capitalize(), "power": power, "ramSizeInGb": ram,
        "transferPerMonthInGb": transfer, "supportedPlatforms": [platform],
        "publicIpv4AddressCount": addresses,
    }


BUNDLES = [
    bundle("nano_3_0", 5.0, 2, 20, 298, 0.5, 1024),
    bundle("micro_3_0", 7.0, 2, 40, 500, 1.0, 2048),
    bundle("small_3_0", 12.0, 2, 60, 1000, 2.0, 3072),
    bundle("medium_3_0", 24.0, 2, 80, 2000, 4.0, 4096),
    bundle("large_3_0", 44.0, 2, 160, 3000, 8.0, 5120),
    bundle("xlarge_3_0", 84.0, 4, 320, 4000, 16.0, 6144),
    bundle("2xlarge_3_0", 164.0, 8, 640, 5000, 32.0, 7168),
    bundle("nano_ipv6_3_0", 3.5, 2, 20, 298, 0.5, 1024, addresses=0),
    bundle("micro_ipv6_3_0", 5.0, 2, 40, 500, 1.0, 2048, addresses=0),
    bundle("small_ipv6_3_0", 10.0, 2, 60, 1000, 2.0, 3072, addresses=0),
    bundle("small_win_3_0", 22.0, 2, 60, 1000, 2.0, 3072, platform="WINDOWS"),
    bundle("nano_2_0", 3.5, 1, 20, 298, 0.5, 1024, active=False),
    bundle("micro_2_0", 5.0, 1, 40, 500, 1.0, 2048, active=False),
    bundle("small_2_0", 10.0, 1, 60, 1000, 2.0, 3072, active=False),
    bundle("medium_2_0", 20.0, 2, 80, 2000, 4.0, 4096, active=False),
]

PLACES = {
    "us-east-1": ("NA", "Virginia"), "us-east-2": ("NA", "Ohio"), "us-west-2": ("NA", "Oregon"),
    "eu-west-1": ("EU", "Ireland"), "eu-west-2": ("EU", "London"), "eu-west-3": ("EU", "Paris"),
    "eu-central-1": ("EU", "Frankfurt"), "eu-north-1": ("EU", "Stockholm"), "ca-central-1": ("NA", "Montreal"),
    "ap-south-1": ("AS", "Mumbai"), "ap-southeast-1": ("AS", "Singapore"), "ap-southeast-2": ("OC", "Sydney"),
    "ap-northeast-1": ("AS", "Tokyo"), "ap-northeast-2": ("AS", "Seoul"),
}
ZONES = "abc"


class Refused(Exception):
    """An error that is answered."""

    def __init__(self, kind, message, status=400, tip=""):
        super().__init__(message)
        self.kind, self.message, self.status, self.tip = kind, message, status, tip


def invalid(message, tip=""):
    return Refused("InvalidInputException", message, tip=tip)


def new_account():
    return {
        "sequence": 0,
        "regions": {},
        "settings": {
            "snapshotDelay": 0.0,
            "instanceDelay": 0.0,
            "pageSize": 50,
            "boot": None,
            "snapshot": None,
            "hostKeys": None,
            "forward": [],
            "clockSkew": 300,
            "notFoundStatus": 404,
        },
    }


def region_of(account, name):
    return account["regions"].setdefault(name, {"resources": {}, "operations": []})


def public(item):
    """What is answered of a resource or an operation."""
    return {key: value for key, value in item.items() if not key.startswith("_") and value is not None}


def settle(account, now):
    for region in account["regions"].values():
        for item in region["operations"]:
            if not item["isTerminal"] and now >= item["_ready"]:
                item.update(status=item["_outcome"], isTerminal=True, statusChangedAt=now)
                if item["_outcome"] == "Failed":
                    item["errorCode"] = "500"
                    item["errorDetails"] = "InternalError"
        for item in list(region["resources"].values()):
            if now < item.get("_ready", 0) or not item.get("_pending"):
                continue
            item["_pending"] = False
            if item["resourceType"] == "InstanceSnapshot":
                item["state"] = item["_outcome"]
            elif item["_outcome"] == "running":
                start_running(item)
            else:
                del region["resources"][item["name"]]


def finish(account):
    """Lets all that is pending be due."""
    for region in account["regions"].values():
        for item in [*region["operations"], *region["resources"].values()]:
            if "_ready" in item:
                item["_ready"] = 0


def start_running(instance):
    instance["state"] = {"code": 16, "name": "running"}
    number = instance["_seq"]
    instance["privateIpAddress"] = f"172.26.{number // 250}.{number % 250 + 1}"
    if instance["ipAddressType"] != "ipv6":
        instance["publicIpAddress"] = instance["_address"]


def bundle_of(bundle_id):
    for known in BUNDLES:
        if known["bundleId"] == bundle_id:
            return known
    raise invalid(f"The bundle does not exist: {bundle_id}", "Get the bundles by GetBundles.")


def system_disk(instance, size):
    return {
        "createdAt": instance["createdAt"], "sizeInGb": size, "isSystemDisk": True, "iops": max(100, size * 3),
        "path": "/dev/xvda", "attachedTo": instance["name"], "attachmentState": "attached",
    }


def port_of(info):
    """A rule of the firewall, with what holds where nothing is said."""
    anywhere = not any(info.get(key) for key in ("cidrs", "ipv6Cidrs", "cidrListAliases"))
    return {
        "fromPort": info.get("fromPort", 0), "toPort": info.get("toPort", 65535),
        "protocol": info.get("protocol", "tcp"),
        "cidrs": ["0.0.0.0/0"] if anywhere else info.get("cidrs", []),
        "ipv6Cidrs": ["::/0"] if anywhere else info.get("ipv6Cidrs", []),
        "cidrListAliases": info.get("cidrListAliases", []),
    }


def show_ports(instance):
    def shown(rule):
        sources = rule["cidrs"] + rule["ipv6Cidrs"] + rule["cidrListAliases"]
        kind = "Anywhere" if "0.0.0.0/0" in sources else "Custom"
        return {
            **rule, "accessFrom": f"{kind} ({' and '.join(sources)})", "accessType": "public",
            "commonName": "", "accessDirection": "inbound",
        }

    instance["networking"]["ports"] = [shown(rule) for rule in instance["_ports"]]


class Calls:
    """The operations on one region at one time. A method whose name begins with a capital is served."""

    def __init__(self, account, region, twist=None):
        self.account, self.region, self.twist = account, region, twist
        self.settings = account["settings"]
        self.resources = region_of(account, region)["resources"]
        self.operations = region_of(account, region)["operations"]
        self.now = time.time()

    # Resources and operations.

    def next(self):
        self.account["sequence"] += 1
        return self.account["sequence"]

    def find(self, kind, name):
        found = self.resources.get(name)
        if found is None or found["resourceType"] != kind:
            status = self.settings["notFoundStatus"]
            raise Refused("NotFoundException", f"The {kind} does not exist: {name}", status)
        return found

    def all(self, kind):
        return [item for item in self.resources.values() if item["resourceType"] == kind]

    def claim(self, name):
        if len(name) < 2 or not all(c.isascii() and (c.isalnum() or c in "-_.") for c in name):
            raise invalid(f"{name} is not a valid resource name. {NAME_RULE}")
        if name in self.resources:
            raise invalid(f"Some names are already in use: {name}")

    def new(self, kind, name, zone="all", tags=()):
        self.claim(name)
        number = self.next()
        made = {
            "name": name, "arn": f"arn:aws:lightsail:{self.region}:{ACCOUNT}:{kind}/{uuid.uuid4()}",
            "supportCode": f"{ACCOUNT}/{kind[0].lower()}-{number:017x}", "createdAt": round(self.now, 3),
            "location": {"availabilityZone": zone, "regionName": self.region}, "resourceType": kind,
            "tags": list(tags), "_seq": number,
        }
        if kind == "StaticIp":
            del made["tags"]  # static IP addresses cannot have any
        self.resources[name] = made
        return made

    def operation(self, kind, resource, details=None, until=None):
        """Notes an operation. With `until`, it lasts as long as that resource is pending."""
        ready, failed = (until["_ready"], until["_outcome"] in ("error", "gone")) if until else (0, False)
        made = {
            "id": str(uuid.uuid4()), "resourceName": resource["name"], "resourceType": resource["resourceType"],
            "createdAt": round(self.now, 3), "location": dict(resource["location"]),
            "isTerminal": until is None, "operationDetails": details, "operationType": kind,
            "status": "Started" if until else "Succeeded", "statusChangedAt": round(self.now, 3),
            "_ready": ready, "_outcome": "Failed" if failed else "Succeeded", "_seq": self.next(),
        }
        self.operations.append(made)
        return public(made)

    def page(self, key, items, parameters, order=lambda item: item["_seq"]):
        items = sorted(items, key=order)
        token = parameters.get("pageToken")
        if token is not None:
            try:
                of, last = base64.b64decode(token, validate=True).decode().split(":")
                last = int(last)
            except (ValueError, binascii.Error):
                of, last = None, None
            if of != key:
                raise invalid(f"The page token is not valid: {token}")
            items = [item for item in items if order(item) > last]
        size = self.settings["pageSize"]
        answer = {key: [public(item) for item in items[:size]]}
        if len(items) > size:
            answer["nextPageToken"] = base64.b64encode(f"{key}:{order(items[size - 1])}".encode()).decode()
        return answer

    # Instances.

    def new_instance(self, name, zone, bundle_id, blueprint, tags=(), delay=0.0, **more):
        size = bundle_of(bundle_id)
        made = self.new("Instance", name, zone, tags)
        made.update({
            "blueprintId": blueprint, "blueprintName": blueprint.replace("_", " ").title(),
            "bundleId": bundle_id, "addOns": [], "isStaticIp": False, "ipAddressType": "dualstack",
            "hardware": {
                "cpuCount": size["cpuCount"], "disks": [system_disk(made, size["diskSizeInGb"])],
                "ramSizeInGb": size["ramSizeInGb"],
            },
            "networking": {"monthlyTransfer": {"gbPerMonthAllocated": size["transferPerMonthInGb"]}},
            "state": {"code": 0, "name": "pending"},
            "username": {"ubuntu": "ubuntu", "debian": "admin"}.get(blueprint.split("_")[0], "ec2-user"),
            "sshKeyName": "LightsailDefaultKeyPair", "_autoSnapshots": [], "_boot": None,
            "_ports": [port_of({"fromPort": port, "toPort": port}) for port in (22, 80)],
            "_address": f"198.51.100.{made['_seq'] % 250 + 1}", "_pending": True,
            "_ready": self.now + delay, "_outcome": "gone" if self.twist == "instance-fails" else "running",
        })
        made.update(more)
        show_ports(made)
        return made

    def GetInstance(self, p):
        return {"instance": public(self.find("Instance", p["instanceName"]))}

    def GetInstances(self, p):
        return self.page("instances", self.all("Instance"), p)

    def GetInstanceState(self, p):
        return {"state": self.find("Instance", p["instanceName"])["state"]}

    def GetInstanceAccessDetails(self, p):
        instance = self.find("Instance", p["instanceName"])
        details = {"instanceName": instance["name"], "protocol": "ssh", "username": instance["username"]}
        if self.settings["hostKeys"]:
            words = {"{instance}": instance["name"], "{address}": instance["_address"]}
            with open(filled(self.settings["hostKeys"], words), encoding="ascii") as file:
                algorithm, public = file.read().split()[:2]
            details["hostKeys"] = [{"algorithm": algorithm, "publicKey": public}]
        return {"accessDetails": details}

    def CreateInstancesFromSnapshot(self, p):
        snapshot = self.source_of_instances(p)
        zone, size = p["availabilityZone"], bundle_of(p["bundleId"])
        if zone not in [self.region + letter for letter in ZONES]:
            raise invalid(f"The availability zone is not valid in {self.region}: {zone}")
        self.refuse_too_small(size, snapshot, p)
        names = p["instanceNames"]
        if not names or len(set(names)) < len(names):
            raise invalid("The names of the instances must be given, and differ.")
        for name in names:
            self.claim(name)
        requests = [(request, self.add_on(request)) for request in p.get("addOns", [])]
        answer = []
        for name in names:
            boot = self.settings["boot"]
            made = self.new_instance(
                name, zone, p["bundleId"], snapshot["fromBlueprintId"], p.get("tags", []),
                self.settings["instanceDelay"],
                sshKeyName=p.get("keyPairName", "LightsailDefaultKeyPair"),
                ipAddressType=p.get("ipAddressType", "dualstack"),
                addOns=[copy.deepcopy(add_on) for _, add_on in requests],
            )
            if boot and made["_outcome"] == "running":
                made["_address"] = f"127.77.{made['_seq'] // 250}.{made['_seq'] % 250 + 1}"
                words = {
                    "{instance}": name, "{snapshot}": snapshot["name"], "{origin}": snapshot["_origin"],
                    "{address}": made["_address"],
                }
                made["_boot"] = [filled(word, words) for word in boot]
            answer.append(self.operation("CreateInstancesFromSnapshot", made, until=made))
        return {"operations": answer}

    def source_of_instances(self, p):
        """The snapshot to make instances from, be it one of its own or an automatic one."""
        if ("instanceSnapshotName" in p) == ("sourceInstanceName" in p):
            raise invalid("Either instanceSnapshotName or sourceInstanceName must be given.")
        if p.get("attachedDiskMapping"):
            raise invalid("The snapshot has no attached disks to map.")
        if "sourceInstanceName" in p:
            instance = self.find("Instance", p["sourceInstanceName"])
            automatic = restorable(instance, p)
            return {
                "name": f"{instance['name']}@{automatic['date']}", "fromBundleId": instance["bundleId"],
                "fromBlueprintId": instance["blueprintId"], "_origin": f"{instance['name']}@{automatic['date']}",
            }
        if "restoreDate" in p or "useLatestRestorableAutoSnapshot" in p:
            raise invalid("A date goes with sourceInstanceName only.")
        snapshot = self.find("InstanceSnapshot", p["instanceSnapshotName"])
        if snapshot["state"] != "available":
            raise invalid(f"The InstanceSnapshot is not available: {snapshot['name']}")
        return snapshot

    def refuse_too_small(self, size, snapshot, p):
        source = bundle_of(snapshot["fromBundleId"])
        if any(size[key] < source[key] for key in ("diskSizeInGb", "ramSizeInGb")):
            raise invalid(
                f"The bundle {size['bundleId']} is smaller than {source['bundleId']} of the snapshot.",
                "Choose a bundle of the same size or a larger one.",
            )
        if size["supportedPlatforms"] != source["supportedPlatforms"]:
            raise invalid(f"The bundle {size['bundleId']} does not support the platform of the snapshot.")
        if (size["publicIpv4AddressCount"] == 0) != (p.get("ipAddressType") == "ipv6"):
            raise invalid(f"The bundle {size['bundleId']} does not go with this type of IP address.")

    def DeleteInstance(self, p):
        instance = self.find("Instance", p["instanceName"])
        enabled = [add_on for add_on in instance["addOns"] if add_on["status"] == "Enabled"]
        if enabled and not p.get("forceDeleteAddOns"):
            raise invalid(
                f"You cannot delete the Instance {instance['name']} with addons. Specify the forceDeleteAddons "
                "parameter to delete the Instance and its associated addons."
            )
        answer = self.operation("DeleteInstance", instance)
        self.remove_instance(instance)
        return {"operations": [answer]}

    def remove_instance(self, instance):
        for address in self.all("StaticIp"):
            if address.get("attachedTo") == instance["name"]:
                address.update(isAttached=False, attachedTo=None)
        del self.resources[instance["name"]]

    def PutInstancePublicPorts(self, p):
        instance = self.find("Instance", p["instanceName"])
        for info in p["portInfos"]:
            is_icmp = info.get("protocol", "tcp").startswith("icmp")
            low, high = info.get("fromPort", 0), info.get("toPort", 65535)
            if not is_icmp and not 0 <= low <= high:
                raise invalid(f"The range of ports is not valid: {low} to {high}")
            try:
                for cidr in info.get("cidrs", []):
                    ipaddress.IPv4Network(cidr)
                for cidr in info.get("ipv6Cidrs", []):
                    ipaddress.IPv6Network(cidr)
            except ValueError as error:
                raise invalid(f"The CIDR block is not valid: {error}") from error
        instance["_ports"] = [port_of(info) for info in p["portInfos"]]
        show_ports(instance)
        return {"operation": self.operation("PutInstancePublicPorts", instance)}

    def GetInstancePortStates(self, p):
        instance = self.find("Instance", p["instanceName"])
        return {"portStates": [{**rule, "state": "open"} for rule in instance["_ports"]]}

    # Snapshots.

    def new_snapshot(self, name, source, tags=()):
        size = bundle_of(source["fromBundleId"])["diskSizeInGb"]
        made = self.new("InstanceSnapshot", name, tags=tags)
        made.update({
            # `progress` is for snapshots of disks only.
            "state": "pending", "fromAttachedDisks": [], "isFromAutoSnapshot": False, "sizeInGb": size,
            "_origin": name, "_pending": True, "_ready": self.now + self.settings["snapshotDelay"],
            "_outcome": "error" if self.twist in ("snapshot-error", "vanish") else "available", **source,
        })
        return made

    def CreateInstanceSnapshot(self, p):
        instance = self.find("Instance", p["instanceName"])
        if instance["state"]["name"] not in ("running", "stopped"):
            raise invalid(f"The Instance is {instance['state']['name']}: {instance['name']}")
        made = self.new_snapshot(p["instanceSnapshotName"], taken_of(instance), p.get("tags", []))
        if self.settings["snapshot"]:
            words = {"{instance}": instance["name"], "{snapshot}": made["name"]}
            subprocess.run([filled(word, words) for word in self.settings["snapshot"]], check=True, stdout=sys.stderr)
        answer = [
            self.operation("CreateInstanceSnapshot", made, instance["name"], until=made),
            self.operation("CreateInstanceSnapshot", instance, made["name"], until=made),
        ]
        if self.twist == "vanish":
            self.remove_instance(instance)
        return {"operations": answer}

    def GetInstanceSnapshot(self, p):
        return {"instanceSnapshot": public(self.find("InstanceSnapshot", p["instanceSnapshotName"]))}

    def GetInstanceSnapshots(self, p):
        return self.page("instanceSnapshots", self.all("InstanceSnapshot"), p)

    def DeleteInstanceSnapshot(self, p):
        snapshot = self.find("InstanceSnapshot", p["instanceSnapshotName"])
        answer = self.operation("DeleteInstanceSnapshot", snapshot)
        del self.resources[snapshot["name"]]
        return {"operations": [answer]}

    def CopySnapshot(self, p):
        there = Calls(self.account, p["sourceRegion"])
        if ("sourceSnapshotName" in p) == ("sourceResourceName" in p):
            raise invalid("Either sourceSnapshotName or sourceResourceName must be given.")
        if "sourceResourceName" in p:
            name = p["sourceResourceName"]
            instance = there.find("Instance", name)
            automatic = restorable(instance, p)
            source = {**taken_of(instance), "isFromAutoSnapshot": True, "_origin": f"{name}@{automatic['date']}"}
        else:
            name = p["sourceSnapshotName"]
            if "restoreDate" in p or "useLatestRestorableAutoSnapshot" in p:
                raise invalid("A date goes with sourceResourceName only.")
            snapshot = there.find("InstanceSnapshot", name)
            if snapshot["state"] != "available":
                raise invalid(f"The InstanceSnapshot is not available: {name}")
            kept = ("fromInstanceName", "fromInstanceArn", "fromBlueprintId", "fromBundleId", "sizeInGb", "_origin")
            source = {key: snapshot[key] for key in kept}
        made = self.new_snapshot(p["targetSnapshotName"], source)
        return {"operations": [self.operation("CopySnapshot", made, f"{p['sourceRegion']}:{name}", until=made)]}

    # Static IP addresses.

    def new_static_ip(self, name, address=None):
        made = self.new("StaticIp", name)
        made.update(ipAddress=address or f"203.0.113.{made['_seq'] % 250 + 1}", isAttached=False)
        return made

    def GetStaticIp(self, p):
        return {"staticIp": public(self.find("StaticIp", p["staticIpName"]))}

    def GetStaticIps(self, p):
        return self.page("staticIps", self.all("StaticIp"), p)

    def AllocateStaticIp(self, p):
        return {"operations": [self.operation("AllocateStaticIp", self.new_static_ip(p["staticIpName"]))]}

    def ReleaseStaticIp(self, p):
        address = self.find("StaticIp", p["staticIpName"])
        if address["isAttached"]:
            raise invalid(f"The StaticIp is attached to {address['attachedTo']}: {address['name']}")
        answer = self.operation("ReleaseStaticIp", address)
        del self.resources[address["name"]]
        return {"operations": [answer]}

    def AttachStaticIp(self, p):
        address = self.find("StaticIp", p["staticIpName"])
        instance = self.find("Instance", p["instanceName"])
        if address["isAttached"]:
            raise invalid(f"The StaticIp is already attached to {address['attachedTo']}: {address['name']}")
        if instance["isStaticIp"]:
            raise invalid(f"The Instance already has a StaticIp: {instance['name']}")
        if instance["state"]["name"] != "running":
            raise invalid(f"The Instance is {instance['state']['name']}: {instance['name']}")
        address.update(isAttached=True, attachedTo=instance["name"])
        instance.update(isStaticIp=True, publicIpAddress=address["ipAddress"])
        return {"operations": self.both("AttachStaticIp", address, instance)}

    def DetachStaticIp(self, p):
        address = self.find("StaticIp", p["staticIpName"])
        if not address["isAttached"]:
            raise invalid(f"The StaticIp is not attached: {address['name']}")
        instance = self.find("Instance", address["attachedTo"])
        address.update(isAttached=False, attachedTo=None)
        instance.update(isStaticIp=False, publicIpAddress=instance["_address"])
        return {"operations": self.both("DetachStaticIp", address, instance)}

    def both(self, kind, address, instance):
        return [
            self.operation(kind, address, instance["name"]),
            self.operation(kind, instance, address["name"]),
        ]

    # Add-ons and automatic snapshots.

    def add_on(self, request):
        if request["addOnType"] != "AutoSnapshot":
            raise invalid(f"The add-on is for Lightsail for Research only: {request['addOnType']}")
        at = request.get("autoSnapshotAddOnRequest", {}).get("snapshotTimeOfDay", "06:00")
        if not at.endswith(":00"):
            raise invalid(f"The time must be a full hour: {at}")
        return {"name": "AutoSnapshot", "status": "Enabled", "snapshotTimeOfDay": at, "nextSnapshotTimeOfDay": at}

    def EnableAddOn(self, p):
        instance = self.find("Instance", p["resourceName"])
        instance["addOns"] = [self.add_on(p["addOnRequest"])]
        return {"operations": [self.operation("EnableAddOn", instance)]}

    def DisableAddOn(self, p):
        instance = self.find("Instance", p["resourceName"])
        enabled = [add_on for add_on in instance["addOns"] if add_on["status"] == "Enabled"]
        if p["addOnType"] not in [add_on["name"] for add_on in enabled]:
            raise invalid(f"The add-on is not enabled: {p['addOnType']}")
        instance["addOns"] = [{"name": p["addOnType"], "status": "Disabled"}]
        return {"operations": [self.operation("DisableAddOn", instance)]}

    def GetAutoSnapshots(self, p):
        instance = self.find("Instance", p["resourceName"])
        newest_first = sorted(instance["_autoSnapshots"], key=lambda taken: taken["date"], reverse=True)
        return {"resourceName": instance["name"], "resourceType": "Instance", "autoSnapshots": newest_first}

    # The rest.

    def GetOperation(self, p):
        for item in self.operations:
            if item["id"] == p["operationId"]:
                return {"operation": public(item)}
        status = self.settings["notFoundStatus"]
        raise Refused("NotFoundException", f"The Operation does not exist: {p['operationId']}", status)

    def GetOperations(self, p):
        return self.page("operations", self.operations, p, order=lambda item: -item["_seq"])

    def GetBundles(self, p):
        listed = [b for b in BUNDLES if (b["isActive"] or p.get("includeInactive")) and "appCategory" not in p]
        numbered = [{**b, "_seq": BUNDLES.index(b)} for b in listed]
        return self.page("bundles", numbered, p)

    def GetRegions(self, p):
        def region(name):
            continent, place = PLACES[name]
            zones = [{"zoneName": name + z, "state": "available"} for z in ZONES]
            return {
                "continentCode": continent, "displayName": place, "name": name,
                "description": f"This region is recommended to serve users near {place}",
                "availabilityZones": zones if p.get("includeAvailabilityZones") else [],
                "relationalDatabaseAvailabilityZones": [],
            }

        return {"regions": [region(name) for name in PLACES]}

    def tagged(self, p):
        found = self.resources.get(p["resourceName"])
        if found is None:
            status = self.settings["notFoundStatus"]
            raise Refused("NotFoundException", f"The resource does not exist: {p['resourceName']}", status)
        if p.get("resourceArn", found["arn"]) != found["arn"] or "tags" not in found:
            raise invalid(f"The resource cannot be tagged like this: {p['resourceName']}")
        return found

    def TagResource(self, p):
        found = self.tagged(p)
        new = {tag.get("key"): tag for tag in p["tags"]}
        found["tags"] = [tag for tag in found["tags"] if tag.get("key") not in new] + list(new.values())
        if len(found["tags"]) > 50:
            raise invalid(f"A resource can have 50 tags at most: {found['name']}")
        return {"operations": [self.operation("TagResource", found)]}

    def UntagResource(self, p):
        found = self.tagged(p)
        found["tags"] = [tag for tag in found["tags"] if tag.get("key") not in p["tagKeys"]]
        return {"operations": [self.operation("UntagResource", found)]}


def filled(word, words):
    for placeholder, value in words.items():
        word = word.replace(placeholder, value)
    return word


def taken_of(instance):
    return {
        "fromInstanceName": instance["name"], "fromInstanceArn": instance["arn"],
        "fromBlueprintId": instance["blueprintId"], "fromBundleId": instance["bundleId"],
    }


def restorable(instance, p):
    """The automatic snapshot that a request means."""
    latest, date = p.get("useLatestRestorableAutoSnapshot"), p.get("restoreDate")
    if bool(latest) == (date is not None):
        raise invalid("Either restoreDate or useLatestRestorableAutoSnapshot must be given.")
    if date is not None:
        try:
            datetime.datetime.strptime(date, "%Y-%m-%d")
        except ValueError as error:
            raise invalid(f"The date must be in YYYY-MM-DD format: {date}") from error
    good = [taken for taken in instance["_autoSnapshots"] if taken["status"] == "Success"]
    found = [taken for taken in good if latest or taken["date"] == date]
    if not found:
        raise invalid(f"There is no such automatic snapshot of the Instance: {instance['name']}")
    return max(found, key=lambda taken: taken["date"])


SERVED = {name for name in vars(Calls) if name[0].isupper()}
