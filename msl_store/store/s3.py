"""S3 ``storage_options`` as s3fs takes them, turned into an obstore store."""

from __future__ import annotations

import os
from datetime import UTC
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from msl_store.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from obstore.store import S3Credential, S3Store

PLAIN = {
    "anon": "skip_signature",
    "key": "access_key_id",
    "secret": "secret_access_key",
    "token": "session_token",
    "endpoint_url": "endpoint",
    "requester_pays": "request_payer",
}
"""s3fs's option, and obstore's for the same thing."""

CLIENT_KWARGS = {"endpoint_url": "endpoint", "region_name": "region"}

KEYS = ("access_key_id", "secret_access_key", "session_token")

FALLBACK_REGION = "us-east-1"


def s3_store(
    url: str,
    options: Mapping[str, Any],
    *,
    client_options: Mapping[str, Any],
    retry_config: Mapping[str, Any],
) -> S3Store | None:
    """Return a store for ``s3://bucket/prefix``, or None where an option is one that only s3fs knows.

    Credentials are those given, else anonymous with ``anon``, else what boto3's chain finds (environment, profiles,
    single sign-on) for ``profile``; with ``role_arn``, those of the role that they may assume.
    """
    from obstore.store import S3Store

    client_kwargs = dict(options.get("client_kwargs") or {})
    if set(options) - set(PLAIN) - {"client_kwargs", "profile", "role_arn"} or set(client_kwargs) - set(CLIENT_KWARGS):
        return None
    if not urlsplit(url).netloc:
        raise UsageError(f"{url}: names no bucket; allowed: s3://bucket/path")
    config = {CLIENT_KWARGS[name]: value for name, value in client_kwargs.items() if value is not None}
    config |= {PLAIN[name]: value for name, value in options.items() if name in PLAIN and value is not None}
    provider = None
    if options.get("role_arn"):
        provider = AssumedRole(_session(options), options["role_arn"])
        config = {name: value for name, value in config.items() if name not in KEYS}
    elif not config.get("skip_signature") and "access_key_id" not in config:
        provider = _provider(url, options)
    config.setdefault("endpoint", os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"))
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if provider is None or "region" not in getattr(provider, "config", {}):
        config.setdefault("region", region or FALLBACK_REGION)
    return S3Store.from_url(
        url,
        config=cast("Any", {name: value for name, value in config.items() if value is not None}),
        client_options=cast("Any", client_options),
        retry_config=cast("Any", retry_config),
        credential_provider=provider,
    )


class AssumedRole:
    """A role's credentials, which obstore asks for again when they expire.

    obstore has such a provider too, but hands on a time zone that it refuses itself (0.12).
    """

    def __init__(self, session: Any, role_arn: str) -> None:
        self._session = session
        self._role_arn = role_arn
        self.config = {} if session.region_name is None else {"region": session.region_name}

    def __call__(self) -> S3Credential:
        """Assume the role; its credentials last an hour."""
        client = self._session.client("sts", region_name=self._session.region_name or FALLBACK_REGION)
        found = client.assume_role(RoleArn=self._role_arn, RoleSessionName="msl-store")["Credentials"]
        return {
            "access_key_id": found["AccessKeyId"],
            "secret_access_key": found["SecretAccessKey"],
            "token": found["SessionToken"],
            "expires_at": found["Expiration"].astimezone(UTC),
        }


def s3fs_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as s3fs takes them: a role is assumed here, for the hour that its credentials last."""
    kept = {name: value for name, value in options.items() if name != "role_arn"}
    if not options.get("role_arn"):
        return kept
    found = AssumedRole(_session(options), options["role_arn"])()
    kept.pop("profile", None)
    return {**kept, "key": found["access_key_id"], "secret": found["secret_access_key"], "token": found["token"]}


def _provider(url: str, options: Mapping[str, Any]) -> Any:
    """Return boto3's credentials as obstore takes them, or None where boto3 is missing."""
    try:
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError:
        if options.get("profile"):
            _session(options)
        return None
    session = _session(options)
    if session.get_credentials() is None:
        raise UsageError(
            f"{url}: no AWS credentials were found; set them up (aws configure), give key and secret or a profile in "
            "storage_options, or, for a public bucket, anon=True"
        )
    return Boto3CredentialProvider(session)


def _session(options: Mapping[str, Any]) -> Any:
    """Return boto3's session of the profile, or the keys, that options name."""
    try:
        import boto3
        from botocore.exceptions import ProfileNotFound
    except ImportError:
        raise UsageError("storage_options 'profile' and 'role_arn' need boto3: pip install 'msl-store[s3]'") from None
    try:
        return boto3.Session(
            options.get("key"), options.get("secret"), options.get("token"), profile_name=options.get("profile")
        )
    except ProfileNotFound as error:
        raise UsageError(
            f"{error}; allowed: {', '.join(boto3.Session().available_profiles) or 'none is set up'}"
        ) from None
