"""S3's requests in IAM's words, which differ from the names of its operations.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qs, unquote

# A bucket's settings, by the word of their query: action to read, and to write or delete.
_SETTINGS = {
    "accelerate": ("GetAccelerateConfiguration", "PutAccelerateConfiguration"),
    "acl": ("GetBucketAcl", "PutBucketAcl"),
    "cors": ("GetBucketCORS", "PutBucketCORS"),
    "encryption": ("GetEncryptionConfiguration", "PutEncryptionConfiguration"),
    "lifecycle": ("GetLifecycleConfiguration", "PutLifecycleConfiguration"),
    "location": ("GetBucketLocation", ""),
    "logging": ("GetBucketLogging", "PutBucketLogging"),
    "notification": ("GetBucketNotification", "PutBucketNotification"),
    "object-lock": ("GetBucketObjectLockConfiguration", "PutBucketObjectLockConfiguration"),
    "ownershipControls": ("GetBucketOwnershipControls", "PutBucketOwnershipControls"),
    "policy": ("GetBucketPolicy", "PutBucketPolicy"),
    "policyStatus": ("GetBucketPolicyStatus", ""),
    "publicAccessBlock": ("GetBucketPublicAccessBlock", "PutBucketPublicAccessBlock"),
    "replication": ("GetReplicationConfiguration", "PutReplicationConfiguration"),
    "requestPayment": ("GetBucketRequestPayment", "PutBucketRequestPayment"),
    "tagging": ("GetBucketTagging", "PutBucketTagging"),
    "uploads": ("ListBucketMultipartUploads", ""),
    "versioning": ("GetBucketVersioning", "PutBucketVersioning"),
    "versions": ("ListBucketVersions", ""),
    "website": ("GetBucketWebsite", "PutBucketWebsite"),
}
_READS = ("GET", "HEAD")


def read(method: str, path: str, query: str, copied: str = "") -> Iterator[tuple[str, str]]:
    """Action and resource of a path-style request.

    Args:
        copied: The header X-Amz-Copy-Source.
    """
    bucket, _, key = unquote(path).lstrip("/").partition("/")
    words = parse_qs(query, keep_blank_values=True)
    if not bucket:
        yield "s3:ListAllMyBuckets", "*"
    elif not key:
        action = _bucket(method, words)
        many = method == "POST" and "delete" in words
        yield f"s3:{action}", f"arn:aws:s3:::{bucket}{'/*' if many else ''}"
    else:
        yield f"s3:{_object(method, words)}", f"arn:aws:s3:::{bucket}/{key}"
        if copied:
            yield "s3:GetObject", f"arn:aws:s3:::{unquote(copied).lstrip('/').partition('?')[0]}"


def _bucket(method: str, words: dict[str, list[str]]) -> str:
    for word, (reads, writes) in _SETTINGS.items():
        if word in words:
            if method == "DELETE" and word in ("policy", "website"):
                return writes.replace("Put", "Delete")
            return reads if method in _READS else writes
    if method == "POST" and "delete" in words:
        return "DeleteObject"
    return {"PUT": "CreateBucket", "DELETE": "DeleteBucket"}.get(method, "ListBucket")


def _object(method: str, words: dict[str, list[str]]) -> str:
    version = "Version" if "versionId" in words else ""
    for word, noun in (("tagging", "Tagging"), ("acl", "Acl"), ("retention", "Retention")):
        if word in words:
            verb = {"GET": "Get", "HEAD": "Get", "DELETE": "Delete"}.get(method, "Put")
            return f"{verb}Object{version}{noun}"
    if "uploadId" in words and method == "DELETE":
        return "AbortMultipartUpload"
    if "uploadId" in words and method in _READS:
        return "ListMultipartUploadParts"
    if method in _READS:
        return f"GetObject{version}"
    return f"DeleteObject{version}" if method == "DELETE" else "PutObject"
