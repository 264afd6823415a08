"""S3 ``storage_options`` as s3fs takes them, turned into an obstore store."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
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

    Credentials are those given, else anonymous with ``anon``, else what botocore's chain finds (environment, profiles,
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
        self.config = _region_of(session)

    def __call__(self) -> S3Credential:
        """Assume the role; its credentials last an hour."""
        region = self.config.get("region", FALLBACK_REGION)
        client = self._session.create_client("sts", region_name=region)
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


class FoundCredentials:
    """What botocore's chain finds (environment, profiles, single sign-on, instance roles), asked for twice an hour."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.config = _region_of(session)

    def __call__(self) -> S3Credential:
        """Return the credentials, which botocore renews where they expire."""
        found = self._session.get_credentials().get_frozen_credentials()
        return {
            "access_key_id": found.access_key,
            "secret_access_key": found.secret_key,
            "token": found.token,
            "expires_at": datetime.now(UTC) + timedelta(minutes=30),
        }


def _provider(url: str, options: Mapping[str, Any]) -> Any:
    """Return the credentials that botocore finds, as obstore takes them, or None where botocore is missing."""
    if not options.get("profile") and find_spec("botocore") is None:
        return None
    session = _session(options)
    if session.get_credentials() is None:
        raise UsageError(
            f"{url}: no AWS credentials were found; set them up (aws configure), give key and secret or a profile in "
            "storage_options, or, for a public bucket, anon=True"
        )
    return FoundCredentials(session)


def _session(options: Mapping[str, Any]) -> Any:
    """Return botocore's session of the profile, or the keys, that options name."""
    try:
        from botocore.exceptions import ProfileNotFound
        from botocore.session import Session
    except ImportError:
        raise UsageError(
            "storage_options 'profile' and 'role_arn' need botocore: pip install 'msl-store[s3]'"
        ) from None
    session = Session(profile=options.get("profile"))
    try:
        session.get_scoped_config()
    except ProfileNotFound as error:
        raise UsageError(f"{error}; allowed: {', '.join(session.available_profiles) or 'none is set up'}") from None
    if options.get("key"):
        session.set_credentials(options["key"], options.get("secret"), options.get("token"))
    return session


def _region_of(session: Any) -> dict[str, str]:
    region = session.get_config_variable("region")
    return {} if region is None else {"region": region}
