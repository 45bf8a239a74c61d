"""A stand-in for Amazon Lightsail: its JSON protocol 1.1, over HTTP, for tests.

What comes in must be signed and fit botocore's own model of the service, patterns and limits included, and
what goes out must fit it too: an answer that does not is a defect of this server, and ends as status 500.
What Amazon does beyond its model is from its documentation and from messages that users have seen.

    lightsail.py ACCESS_KEY SECRET_KEY

It prints the port on which it listens. `POST /_control` takes `{"do": ...}`, unsigned; see `Control`.
"""

import copy
import datetime
import hashlib
import hmac
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import botocore.session
from botocore.validate import ParamValidator

from lightsail_state import (
    ACCOUNT, SERVED, Calls, Refused, finish, new_account, public, region_of, settle,
)

MODEL = botocore.session.get_session().get_service_model("lightsail")
TARGET = MODEL.metadata["targetPrefix"] + "."
REGIONS = MODEL.shape_for("RegionName").enum
# What Amazon answers, and its model does not know.
OUTSIDE_THE_MODEL = {
    "OperationType": {"CopySnapshot", "TagResource", "UntagResource"},
    "PortAccessType": {"public"},
}
# What faults change the course of an operation instead of its answer, and of which operations.
TWISTS = {
    "snapshot-error": ("CreateInstanceSnapshot", "CopySnapshot"),
    "vanish": ("CreateInstanceSnapshot",),
    "instance-fails": ("CreateInstancesFromSnapshot",),
}
ANSWERS = ("throttle", "status", "hang", "close", "close-after", "half", "nothing", "denied", "quota")


def problems(shape, value, is_output=False):
    """How a value does not fit a shape of the model, as a list of sentences."""
    report = ParamValidator().validate(value, shape)
    if report.has_errors():
        return [report.generate_report()]
    return list(constraints(shape, value, shape.name, is_output))


def constraints(shape, value, at, is_output):
    """What botocore leaves to the service: names that are unknown, patterns, enumerations and limits."""
    if shape.type_name == "structure":
        for name, inner in value.items():
            if name not in shape.members:
                yield f"Unknown parameter at {at}: {name}"
            else:
                yield from constraints(shape.members[name], inner, f"{at}.{name}", is_output)
        return
    if shape.type_name == "list":
        yield from limits(shape, len(value), at)
        for index, inner in enumerate(value):
            yield from constraints(shape.member, inner, f"{at}[{index}]", is_output)
    elif shape.type_name == "map":
        for key, inner in value.items():
            yield from constraints(shape.key, key, f"{at} (key)", is_output)
            yield from constraints(shape.value, inner, f"{at}.{key}", is_output)
    elif shape.type_name == "string":
        yield from limits(shape, len(value), at)
        known = set(shape.enum) | (OUTSIDE_THE_MODEL.get(shape.name, set()) if is_output else set())
        pattern = shape.metadata.get("pattern")
        if known and value not in known:
            yield f"Value at {at} must be one of {sorted(known)}: {value}"
        if pattern and not re.fullmatch(pattern, value, re.ASCII | re.DOTALL):
            yield f"Value at {at} must fit {pattern}: {value}"
    elif shape.type_name in ("integer", "long", "float", "double"):
        yield from limits(shape, value, at)


def limits(shape, size, at):
    if not shape.metadata.get("min", size) <= size <= shape.metadata.get("max", size):
        yield f"Value at {at} is out of its limits: {size}"


def digest(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def check_signature(headers, body, keys, skew):
    """Returns the access key and the region of a request that is signed as Amazon wants it."""
    authorization = headers.get("authorization")
    if authorization is None:
        raise Refused("MissingAuthenticationTokenException", "Missing Authentication Token", 403)
    form = r"AWS4-HMAC-SHA256 Credential=([^/,]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, *" \
           r"SignedHeaders=([a-z0-9;-]+), *Signature=([0-9a-f]{64})"
    match = re.fullmatch(form, authorization)
    if match is None:
        raise Refused("IncompleteSignatureException", "The Authorization header cannot be read.", 403)
    access_key, day, region, service, signed, signature = match.groups()
    key = keys.get(access_key)
    if key is None or key.get("sessionToken") != headers.get("x-amz-security-token"):
        invalid_token = "The security token included in the request is invalid."
        raise Refused("UnrecognizedClientException", invalid_token, 403)
    if key.get("expired"):
        raise Refused("ExpiredTokenException", "The security token included in the request is expired", 403)
    if service != "lightsail" or region not in REGIONS:
        raise wrong("Credential should be scoped to a valid region and to the correct service: 'lightsail'.")
    names, at = signed.split(";"), headers.get("x-amz-date", "")
    unsigned = [name for name in headers if name.startswith("x-amz-") or name == "host"]
    if names != sorted(names) or any(name not in names for name in unsigned) or "host" not in names:
        raise wrong("Headers must be sorted, and 'Host' and each 'X-Amz-' header must be signed.")
    check_time(at, day, skew)
    canonical = "\n".join([
        "POST", "/", "", *[f"{name}:{' '.join(headers.get(name, '').split())}" for name in names], "", signed,
        hashlib.sha256(body).hexdigest(),
    ])
    scope = f"{day}/{region}/{service}/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{at}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    signing = ("AWS4" + key["secretKey"]).encode()
    for part in scope.split("/"):
        signing = digest(signing, part)
    if not hmac.compare_digest(digest(signing, text).hex(), signature):
        raise wrong(
            "The request signature we calculated does not match the signature you provided. Check your AWS "
            "Secret Access Key and signing method. Consult the service documentation for details."
        )
    return access_key, region


def check_time(at, day, skew):
    try:
        signed_at = datetime.datetime.strptime(at, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
    except ValueError as error:
        raise wrong("X-Amz-Date must be in ISO-8601 basic format.") from error
    if not at.startswith(day):
        raise wrong("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP")
    if abs(signed_at.timestamp() - time.time()) > skew:
        raise wrong(f"Signature expired: {at} is too far from now")


def wrong(message):
    return Refused("InvalidSignatureException", message, 403)


class Machines:
    """The processes that stand for instances made from snapshots. None outlives this server."""

    def __init__(self):
        self.running = {}

    def reconcile(self, account):
        """Starts what is not running, and ends what belongs to no instance any more."""
        wanted = {}
        for region in account["regions"].values():
            for item in region["resources"].values():
                if item.get("_boot"):
                    wanted[item["arn"]] = item["_boot"]
        for arn in [arn for arn in self.running if arn not in wanted]:
            machine = self.running.pop(arn)
            machine.stdin.close()
            machine.wait()
        for arn, command in wanted.items():
            if arn not in self.running:
                # The pipe closes when this server ends, however it does.
                script = '"$@" </dev/null & read -r _; kill -9 0'
                self.running[arn] = subprocess.Popen(
                    ["/bin/sh", "-c", script, "machine", *command], stdin=subprocess.PIPE,
                    stdout=sys.stderr, start_new_session=True,
                )


class Forwarders:
    """Static addresses: what reaches one reaches the instance that it is attached to, at the same port."""

    def __init__(self):
        self.known, self.leads = set(), {}

    def reconcile(self, account):
        leads = {}
        for region in account["regions"].values():
            for item in region["resources"].values():
                if item["resourceType"] == "StaticIp":
                    holder = region["resources"].get(item.get("attachedTo") or "")
                    leads[item["ipAddress"]] = holder and holder["_address"]
        self.leads = leads
        for address in leads:
            for port in account["settings"]["forward"]:
                if address.startswith("127.") and (address, port) not in self.known:
                    self.known.add((address, port))
                    threading.Thread(target=self.listen, args=(address, port), daemon=True).start()

    def listen(self, address, port):
        with socket.create_server((address, port)) as server:
            while True:
                caller = server.accept()[0]
                threading.Thread(target=self.forward, args=(caller, address, port), daemon=True).start()

    def forward(self, caller, address, port):
        try:
            callee = socket.create_connection((self.leads.get(address) or "", port), timeout=5)
        except OSError:
            return caller.close()
        callee.settimeout(None)
        threading.Thread(target=pump, args=(callee, caller), daemon=True).start()
        return pump(caller, callee)


def pump(one, other):
    try:
        while data := one.recv(1 << 16):
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)
    except OSError:
        one.close()
        other.close()


class Service:
    """The account, its keys, and the faults to come."""

    def __init__(self, access_key, secret_key):
        self.account = new_account()
        self.keys = {access_key: {"secretKey": secret_key}}
        self.faults, self.calls = [], []
        self.machines, self.forwarders = Machines(), Forwarders()
        self.lock = threading.Lock()

    def fault_for(self, operation):
        for fault in self.faults:
            if fault["operation"] not in (None, operation) or fault["times"] == 0:
                continue
            if fault["fault"] in TWISTS and operation not in TWISTS[fault["fault"]]:
                continue
            if fault["skip"] > 0:
                fault["skip"] -= 1
                continue
            if fault["times"] is not None:
                fault["times"] -= 1
            fault["done"] += 1
            return fault
        return None

    def receive(self, headers, body):
        """Returns the status and the answer to a request, and the name of the fault that is due."""
        target = headers.get("x-amz-target", "")
        operation = target.removeprefix(TARGET) if target.startswith(TARGET) else None
        call = {"operation": operation, "region": None, "accessKey": None, "parameters": None, "fault": None}
        with self.lock:
            self.calls.append(call)
            try:
                call["parameters"] = json.loads(body)
            except ValueError:
                pass
            try:
                call["accessKey"], call["region"] = check_signature(
                    headers, body, self.keys, self.account["settings"]["clockSkew"],
                )
                fault = self.fault_for(operation)
                call["fault"] = fault and fault["fault"]
                status, answer = 200, self.answer(headers, operation, call, fault)
            except Refused as error:
                status, answer = error.status, refusal(error)
                call["refused"] = error.kind
            call["status"] = status
            self.reconcile()
        return status, answer, call["fault"]

    def reconcile(self):
        self.machines.reconcile(self.account)
        self.forwarders.reconcile(self.account)

    def answer(self, headers, operation, call, fault):
        kind = call["fault"]
        if kind in ("hang", "close"):
            return {}
        if kind == "throttle":
            raise Refused("ThrottlingException", "Rate exceeded")
        if kind == "status":
            name = "InternalFailure" if fault["status"] == 500 else "ServiceUnavailableException"
            raise Refused(name, "The service could not answer.", fault["status"])
        if operation is None or operation not in MODEL.operation_names:
            raise Refused("UnknownOperationException", f"Unknown operation: {headers.get('x-amz-target')}")
        if headers.get("content-type") != "application/x-amz-json-1.1" or not isinstance(call["parameters"], dict):
            raise Refused("SerializationException", "The body must be a JSON object, and be called one.")
        model = MODEL.operation_model(operation)
        found = problems(model.input_shape, call["parameters"])
        if found:
            raise Refused("InvalidInputException", "; ".join(found), tip="See the reference of the API.")
        if operation not in SERVED:
            raise Refused("UnknownOperationException", f"This stand-in does not serve {operation}.")
        settle(self.account, time.time())
        if kind == "denied":
            raise self.denial(operation, call)
        if kind == "quota":
            raise quota(operation)
        answer = self.carry_out(operation, call, kind)
        found = problems(model.output_shape, answer, is_output=True)
        if found:
            print(f"answer to {operation} does not fit the model: {found}: {answer}", file=sys.stderr, flush=True)
            raise Refused("InternalFailure", f"The stand-in's answer is wrong: {'; '.join(found)}", 500)
        return answer

    def carry_out(self, operation, call, kind):
        """Changes the account only if all goes well, and not at all for an answer that promises too much."""
        changed = copy.deepcopy(self.account)
        calls = Calls(changed, call["region"], kind if kind in TWISTS else None)
        answer = copy.deepcopy(getattr(calls, operation)(call["parameters"]))
        if kind == "nothing":
            # Whoever asks for the operation is told that it went well.
            region_of(self.account, call["region"])["operations"] = calls.operations
        else:
            self.account = changed
        return answer

    def denial(self, operation, call):
        resources = region_of(self.account, call["region"])["resources"]
        named = [resources[v]["arn"] for v in call["parameters"].values() if isinstance(v, str) and v in resources]
        resource = named[0] if named else f"arn:aws:lightsail:{call['region']}:{ACCOUNT}:*"
        message = (
            f"User: arn:aws:iam::{ACCOUNT}:user/tester is not authorized to perform: lightsail:{operation} on "
            f"resource: {resource} because no identity-based policy allows the lightsail:{operation} action"
        )
        return Refused("AccessDeniedException", message, 403)


def quota(operation):
    kinds = {"AllocateStaticIp": ("Static IPs", 5), "CreateInstancesFromSnapshot": ("Instances", 20)}
    kind, most = kinds.get(operation, ("Instance Snapshots", 100))
    message = (
        f"Sorry, you've reached your maximum limit of Lightsail {kind} : {most}. If you're new to Lightsail, please "
        "try again later. If the issue persists, please contact Customer Support."
    )
    return Refused("InvalidInputException", message)


def refusal(error):
    return {
        "__type": error.kind, "code": error.kind.removesuffix("Exception"), "message": error.message,
        "docs": "https://docs.aws.amazon.com/lightsail/", "tip": error.tip,
    }


class Control:
    """What tests ask and set. Each method is a value of `do`; the other keys are its arguments."""

    def __init__(self, service):
        self.service = service

    def do(self, request):
        name = request.pop("do", "").replace("-", "_")
        if name.startswith("_") or name == "do" or not hasattr(Control, name):
            raise Refused("Control", f"no such control: {name}")
        with self.service.lock:
            settle(self.service.account, time.time())
            answer = getattr(self, name)(**request)
            settle(self.service.account, time.time())
            self.service.reconcile()
            return {} if answer is None else copy.deepcopy(answer)

    def state(self):
        """All resources, by region; the operations; the settings and the faults."""
        def shown(region):
            def of(kind):
                return [public(item) for item in region["resources"].values() if item["resourceType"] == kind]

            return {
                "instances": of("Instance"), "staticIps": of("StaticIp"), "snapshots": of("InstanceSnapshot"),
                "operations": [public(item) for item in region["operations"]],
            }

        account = self.service.account
        regions = {name: shown(region) for name, region in account["regions"].items()}
        return {"regions": regions, "settings": account["settings"], "faults": self.service.faults}

    def calls(self, clear=False):
        """The requests so far, in the order of their arrival. `refused` says why one was."""
        calls = list(self.service.calls)
        if clear:
            self.service.calls.clear()
        return {"calls": calls}

    def settings(self, **changes):
        """Changes snapshotDelay, instanceDelay (seconds), pageSize, boot and snapshot (commands or null), hostKeys
        (the path of a public key), forward (the ports of static addresses), clockSkew (seconds), notFoundStatus."""
        known = self.service.account["settings"]
        for name in changes:
            if name not in known:
                raise Refused("Control", f"no such setting: {name}")
        known.update(changes)

    def fault(self, fault, operation=None, times=None, skip=0, status=503):
        """Makes the next calls of an operation (or of all) go wrong, after so many that go well."""
        if fault not in ANSWERS and fault not in TWISTS:
            raise Refused("Control", f"no such fault: {fault}")
        if operation is not None and operation not in SERVED:
            raise Refused("Control", f"no such operation: {operation}")
        new = {"fault": fault, "operation": operation, "times": times, "skip": skip, "status": status, "done": 0}
        self.service.faults.append(new)

    def reset(self):
        """Ends all faults."""
        self.service.faults.clear()

    def finish(self):
        """Ends the waiting for all that is pending."""
        finish(self.service.account)

    def instance(self, region, name, zone=None, bundle="small_3_0", blueprint="ubuntu_24_04", tags=(), address=None):
        """Makes a running instance."""
        calls = Calls(self.service.account, region)
        more = {"_address": address} if address else {}
        calls.new_instance(name, zone or region + "a", bundle, blueprint, tags, **more)
        settle(self.service.account, time.time())
        return calls.GetInstance({"instanceName": name})

    def instance_state(self, region, name, code, state):
        """Sets the state of an instance, such as 80 stopped."""
        Calls(self.service.account, region).find("Instance", name)["state"] = {"code": code, "name": state}

    def static_ip(self, region, name, address=None, attached_to=None):
        """Makes a static IP address, and attaches it."""
        calls = Calls(self.service.account, region)
        calls.new_static_ip(name, address)
        if attached_to is not None:
            calls.AttachStaticIp({"staticIpName": name, "instanceName": attached_to})
        return calls.GetStaticIp({"staticIpName": name})

    def auto_snapshot(self, region, instance, date, status="Success"):
        """Adds an automatic snapshot of a day (YYYY-MM-DD)."""
        at = datetime.datetime.strptime(date, "%Y-%m-%d").replace(hour=6, tzinfo=datetime.timezone.utc)
        found = Calls(self.service.account, region).find("Instance", instance)
        taken = {"date": date, "createdAt": at.timestamp(), "status": status, "fromAttachedDisks": []}
        found["_autoSnapshots"].append(taken)

    def forget(self, region, name):
        """Removes a resource, whatever it is, as someone else would."""
        calls = Calls(self.service.account, region)
        found = calls.resources.get(name)
        if found is None:
            raise Refused("Control", f"no such resource: {name}")
        if found["resourceType"] == "Instance":
            calls.remove_instance(found)
        else:
            del calls.resources[name]

    def key(self, access_key, secret_key, session_token=None, expired=False):
        """Accepts further keys, or lets keys be expired."""
        new = {"secretKey": secret_key, "expired": expired}
        if session_token is not None:
            new["sessionToken"] = session_token
        self.service.keys[access_key] = new


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    service = None

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path == "/_control":
            return self.control(body)
        if self.path != "/":
            return self.send(404, {"__type": "UnknownOperationException"})
        headers = {name.lower(): value for name, value in self.headers.items()}
        status, answer, fault = self.service.receive(headers, body)
        if fault == "hang":
            threading.Event().wait()
        if fault in ("close", "close-after"):
            self.close_connection = True
            return self.connection.shutdown(socket.SHUT_RDWR)
        return self.send(status, answer, is_half=fault == "half")

    def do_GET(self):
        self.send(404, {"__type": "UnknownOperationException"})

    def control(self, body):
        try:
            self.send(200, Control(self.service).do(json.loads(body)))
        except Refused as error:
            self.send(400, {"message": error.message})
        except (TypeError, ValueError, KeyError) as error:
            self.send(400, {"message": f"{type(error).__name__}: {error}"})

    def send(self, status, answer, is_half=False):
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("x-amzn-RequestId", str(uuid.uuid4()))
        self.end_headers()
        self.close_connection = self.close_connection or is_half
        self.wfile.write(body[: len(body) // 2] if is_half else body)


def main():
    Handler.service = Service(*sys.argv[1:3])
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    ThreadingHTTPServer.daemon_threads = True
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
