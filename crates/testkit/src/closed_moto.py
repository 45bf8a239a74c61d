"""moto_server, with promises of real servers that it does not keep by itself.

Its table of actions is that of the service authorization reference: moto leaves out some settings of a
bucket, which it then takes for listings.

It refuses strangers the listing of a bucket that is not public: moto asks policies and access
control lists when someone without credentials wants an object, and lists every bucket to anybody.

It locks an object that comes in parts as its upload was begun with, and shortens no lock in compliance
mode: moto takes locks from the headers of single requests only, and lets anybody replace them.

Whoever has the token of another system may assume a role by it, and everybody may ask who they are; who
may read a parameter is asked by its name.

Of two requests at once that may only create an object, one fails: moto looks whether it exists and
writes it in two steps.
"""

import sys
import threading

import closed_ec2  # noqa: F401, it changes EC2
from moto import server
from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.responses import BaseResponse
from moto.iam.access_control import PermissionResult
from moto.s3.exceptions import AccessDeniedByLock
from moto.s3.models import S3Backend, s3_backends
from moto.s3.responses import ACTION_MAP, S3Response
from moto.ssm.responses import SimpleSystemManagerResponse


ACTION_MAP["BUCKET"]["HEAD"]["DEFAULT"] = "ListBucket"
for method, parameter, action in [
    ("GET", "encryption", "GetEncryptionConfiguration"),
    ("GET", "object-lock", "GetBucketObjectLockConfiguration"),
    ("GET", "publicAccessBlock", "GetBucketPublicAccessBlock"),
    ("GET", "replication", "GetReplicationConfiguration"),
    ("PUT", "encryption", "PutEncryptionConfiguration"),
    ("PUT", "publicAccessBlock", "PutBucketPublicAccessBlock"),
]:
    ACTION_MAP["BUCKET"][method][parameter] = action
ACTION_MAP["KEY"]["HEAD"]["versionId"] = "GetObjectVersion"
ACTION_MAP["KEY"]["GET"]["retention"] = "GetObjectRetention"
ACTION_MAP["KEY"]["PUT"]["retention"] = "PutObjectRetention"


def is_public(name):
    bucket = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets.get(name)
    if bucket is None:
        return True  # to be told that there is none
    allowed = bucket.get_permission("s3:ListBucket", f"arn:aws:s3:::{name}")
    return allowed == PermissionResult.PERMITTED or bool(bucket.acl and bucket.acl.public_read)


begin, complete = S3Backend.create_multipart_upload, S3Backend.complete_multipart_upload
asked, replace = S3Response._key_response_post, S3Backend.put_object_retention
locks = threading.local()


def post(self, request, body, bucket_name, query, key_name):
    header = request.headers.get
    locks.asked = header("x-amz-object-lock-mode"), header("x-amz-object-lock-retain-until-date")
    return asked(self, request, body, bucket_name, query, key_name)


def begin_locked(self, *args, **kwargs):
    upload = begin(self, *args, **kwargs)
    upload.lock = locks.asked
    return upload


def complete_locked(self, bucket_name, multipart_id, body):
    lock = getattr(self.get_bucket(bucket_name).multiparts.get(multipart_id), "lock", (None, None))
    key = complete(self, bucket_name, multipart_id, body)
    if key is not None and lock[0]:
        key.lock_mode, key.lock_until = lock
    return key


def retain(self, bucket_name, key_name, version_id, retention):
    key = self.get_object(bucket_name, key_name, version_id=version_id)
    if key is not None and key.lock_mode == "COMPLIANCE":
        until = retention[1] or ""
        if retention[0] != "COMPLIANCE" or until[:19] < (key.lock_until or "")[:19]:
            raise AccessDeniedByLock
    return replace(self, bucket_name, key_name, version_id, retention)


S3Response._key_response_post = post
S3Backend.create_multipart_upload, S3Backend.complete_multipart_upload = begin_locked, complete_locked
S3Backend.put_object_retention = retain

authorize = BaseResponse._authenticate_and_authorize_normal_action


def authorize_who_must(self, resource="*"):
    if self._get_action() not in ("AssumeRoleWithWebIdentity", "GetCallerIdentity"):
        authorize(self, resource)


def parameter(self):
    name = (self._get_param("Name") or "*").lstrip("/")
    return f"arn:aws:ssm:{self.region}:{self.current_account}:parameter/{name}"


BaseResponse._authenticate_and_authorize_normal_action = authorize_who_must
SimpleSystemManagerResponse._determine_resource = parameter

creating = threading.Lock()


class Closed(server.DomainDispatcherApplication):
    def __call__(self, environ, start_response):
        path = environ["PATH_INFO"].strip("/")
        is_signed = "HTTP_AUTHORIZATION" in environ or "Signature=" in environ.get("QUERY_STRING", "")
        if path and "/" not in path and not is_signed and not is_public(path):
            start_response("403 Forbidden", [("Content-Type", "application/xml")])
            return [b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"]
        if "HTTP_IF_NONE_MATCH" in environ:
            with creating:
                return super().__call__(environ, start_response)
        return super().__call__(environ, start_response)


server.DomainDispatcherApplication = Closed
server.main(sys.argv[1:])
