"""EC2 of moto_server, with promises of the real one that it does not keep by itself.

Who may do what is judged for each resource of a call and under the conditions of a policy, as the service
authorization reference has them: moto asks for the action alone, and takes a condition that is not met for a
denial of everything.

An image gets its name once and is pending for a while; snapshots of its disks get the tags that are asked for.
A call with a client token that was made before makes nothing new. A console shows what its image left.
"""

import fnmatch
import json
import time

from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import ec2_backends
from moto.ec2.models.amis import Ami, AmiBackend
from moto.ec2.responses import EC2Response
from moto.ec2.responses.amis import AmisResponse
from moto.ec2.responses.instances import InstanceResponse
from moto.iam.access_control import IAMRequest
from werkzeug.exceptions import HTTPException

PENDING_SECONDS = 0.6
DISK = {"instance", "network-interface", "volume"}


class Refused(HTTPException):
    def __init__(self, status, code, message):
        self.code = status
        text = f"<Code>{code}</Code><Message>{message}</Message>"
        super().__init__(
            f'<?xml version="1.0" encoding="UTF-8"?><Response><Errors><Error>{text}</Error></Errors><RequestID>r</RequestID></Response>'
        )


def as_list(value):
    return value if isinstance(value, list) else [value]


def matches(patterns, text):
    return any(fnmatch.fnmatchcase(text, pattern.replace("[", "[[]")) for pattern in as_list(patterns))


def is_met(conditions, context):
    for operator, wanted in (conditions or {}).items():
        assert operator == "StringEquals", operator
        for key, values in wanted.items():
            if context.get(key) not in as_list(values):
                return False
    return True


class Ec2Request(IAMRequest):
    """Judges each resource of a call by itself."""

    def _raise_signature_does_not_match(self):
        raise Refused(401, "AuthFailure", "AWS was not able to validate the provided access credentials")

    def _raise_invalid_access_key(self, reason):
        self._raise_signature_does_not_match()

    def check_action_permitted(self, resource):
        statements = []
        for policy in self._access_key.collect_policies():
            text = policy if isinstance(policy, str) else policy["policy_document"]
            statements += as_list(json.loads(text)["Statement"])
        for action, arn, context in self.needs():
            allowed = any(
                statement["Effect"] == "Allow"
                and matches(statement["Action"], action)
                and matches(statement["Resource"], arn)
                and is_met(statement.get("Condition"), context)
                for statement in statements
            )
            if not allowed:
                raise Refused(
                    403,
                    "UnauthorizedOperation",
                    "You are not authorized to perform this operation. "
                    f"User: {self._access_key.arn} is not authorized to perform: {action} on resource: {arn} "
                    "Encoded authorization failure message: AbCdEf0123456789",
                )

    def values(self, name):
        form = self._data
        numbered = [value for key, value in sorted(form.items()) if key.startswith(f"{name}.") and key.count(".") == 1]
        return [value[0] for value in numbered] + list(form.get(name, []))

    def needs(self):
        """The actions, resources and contexts that this call needs."""
        action = self._action.split(":")[1]
        backend = ec2_backends[self.account_id][self._region]

        def at(kind, name="*"):
            owner = "" if kind in ("image", "snapshot") else self.account_id
            tags = backend.tags.get(name, {}) if name != "*" else {}
            context = {f"aws:ResourceTag/{key}": value for key, value in tags.items()}
            return f"arn:aws:ec2:{self._region}:{owner}:{kind}/{name}", context

        def known(kind, parameter):
            return [at(kind, name) for name in self.values(parameter)]

        kinds = {"ami": "image", "snap": "snapshot", "i": "instance", "vol": "volume"}
        if action.startswith("Describe"):
            on = [("*", {})]
        elif action == "CreateImage":
            on = [*known("instance", "InstanceId"), at("image"), at("snapshot")]
        elif action == "CopyImage":
            [origin], [image] = self.values("SourceRegion"), self.values("SourceImageId")
            on = [(f"arn:aws:ec2:{origin}::image/{image}", {}), at("image"), at("snapshot")]
        elif action == "RunInstances":
            on = [at(kind) for kind in sorted(DISK)] + known("image", "ImageId") + known("subnet", "SubnetId")
            on += known("security-group", "SecurityGroupId") + known("key-pair", "KeyName")
            on += [
                at("snapshot", value[0]) for key, value in self._data.items() if key.endswith(".Ebs.SnapshotId")
            ]
        elif action == "CreateTags":
            on = [at(kinds[name.split("-")[0]], name) for name in self.values("ResourceId")]
        elif action == "TerminateInstances":
            on = known("instance", "InstanceId")
        elif action == "ModifyInstanceAttribute":
            on = known("instance", "InstanceId") + known("security-group", "GroupId")
        elif action == "GetConsoleOutput":
            on = known("instance", "InstanceId")
        elif action == "AssociateAddress":
            on = known("elastic-ip", "AllocationId") + known("instance", "InstanceId") + [at("network-interface")]
        elif action == "DeregisterImage":
            on = known("image", "ImageId")
        elif action == "DeleteSnapshot":
            on = known("snapshot", "SnapshotId")
        else:
            raise AssertionError(f"nobody knows what {action} needs")
        for arn, context in on:
            yield f"ec2:{action}", arn, context
        for key, value in self._data.items():
            if key.startswith("TagSpecification.") and key.endswith(".ResourceType"):
                arn, _ = at(value[0])
                yield "ec2:CreateTags", arn, {"ec2:CreateAction": action}
        for profile in self._data.get("IamInstanceProfile.Arn", []):
            yield "iam:PassRole", profile.replace(":instance-profile/", ":role/"), {}


def judge(self, resource="*"):
    self._authenticate_and_authorize_action(Ec2Request, resource)


EC2Response._authenticate_and_authorize_normal_action = judge

create = AmiBackend.create_image


def create_image(self, instance_id, name, description, tag_specifications):
    if any(ami.name == name and ami.owner_id == self.account_id for ami in self.amis.values()):
        raise EC2ClientError(
            "InvalidAMIName.Duplicate", f"AMI name {name} is already in use by AMI {instance_id}"
        )
    of_image = [one for one in tag_specifications if one["ResourceType"] != "snapshot"]
    ami = create(self, instance_id, name, description, of_image)
    tag_disks(ami, tag_specifications)
    ami.begun = time.monotonic()
    return ami


def tag_disks(ami, tag_specifications):
    for one in tag_specifications:
        if one["ResourceType"] == "snapshot":
            for tag in one["Tags"]:
                ami.ebs_snapshot.add_tag(tag["Key"], tag["Value"])


copy = AmisResponse.copy_image


def copy_image(self):
    """Without the tags of the original, as it is; with those that are asked for."""
    backend = self.ec2_backend
    origin = ec2_backends[self.current_account][self._get_param("SourceRegion")]
    source, name = self._get_param("SourceImageId"), self._get_param("Name")
    made = backend.__dict__.setdefault("copied_by_token", {})
    token = self._get_param("ClientToken")
    if token in made:
        return ActionResult({"ImageId": made[token]})
    if source not in origin.amis:
        raise EC2ClientError("InvalidAMIID.NotFound", f"The image id '[{source}]' does not exist")
    if origin.amis[source].state != "available":
        raise EC2ClientError("InvalidRequest", f"The image {source} is not available")
    if any(ami.name == name and ami.owner_id == self.current_account for ami in backend.amis.values()):
        raise EC2ClientError("InvalidAMIName.Duplicate", f"AMI name {name} is already in use")
    answer = copy(self)
    ami = next(reversed(backend.amis.values()))
    specifications = self._get_param("TagSpecifications", [])
    for one in specifications:
        if one["ResourceType"] == "image":
            ami.add_tags({tag["Key"]: tag["Value"] for tag in one["Tags"]})
    tag_disks(ami, specifications)
    ami.begun = time.monotonic()
    if token is not None:
        made[token] = ami.id
    return answer


AmisResponse.copy_image = copy_image


def state(self):
    is_new = time.monotonic() - getattr(self, "begun", 0) < PENDING_SECONDS
    return "pending" if is_new else self.__dict__.get("_settled", "available")


AmiBackend.create_image = create_image
Ami.state = property(state, lambda self, value: self.__dict__.__setitem__("_settled", value))

run = InstanceResponse.run_instances


def run_instances(self):
    token = self._get_param("ClientToken")
    backend = self.ec2_backend
    made = backend.__dict__.setdefault("made_by_token", {})
    if token is None:
        return run(self)
    if token not in made:
        before = set(backend.reservations)
        answer = run(self)
        made[token] = next(iter(set(backend.reservations) - before))
        return answer
    return ActionResult(backend.reservations[made[token]])


InstanceResponse.run_instances = run_instances
