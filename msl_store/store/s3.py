"""S3 ``storage_options`` as s3fs takes them, turned into an obstore store."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from msl_store.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from obstore.store import S3Store

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
    roles, single sign-on) for ``profile`` and ``role_arn``.
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
    if not config.get("skip_signature") and "access_key_id" not in config:
        provider = _provider(options.get("profile"), options.get("role_arn"))
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


def _provider(profile: str | None, role_arn: str | None) -> Any:
    """Return boto3's credentials as obstore takes them, or None where boto3 is missing or finds none."""
    try:
        import boto3
        from botocore.exceptions import ProfileNotFound
        from obstore.auth.boto3 import Boto3CredentialProvider, StsCredentialProvider
    except ImportError:
        if profile or role_arn:
            raise UsageError(
                "storage_options 'profile' and 'role_arn' need boto3: pip install 'msl-store[s3]'"
            ) from None
        return None
    try:
        session = boto3.Session(profile_name=profile)
    except ProfileNotFound as error:
        raise UsageError(
            f"{error}; allowed: {', '.join(boto3.Session().available_profiles) or 'none is set up'}"
        ) from None
    if role_arn:
        return StsCredentialProvider(session, RoleArn=role_arn, RoleSessionName="msl-store")
    return None if session.get_credentials() is None else Boto3CredentialProvider(session)
