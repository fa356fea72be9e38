"""The configuration text of a test Dovecot, for 2.3 (Debian 12) and for 2.4 (Debian 13)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.servers.identity import Identity

Storage = Literal["sdbox", "maildir"]
ClientCertificates = Literal["no", "taken", "needed"]
SPECIAL_USE = ("Drafts", "Sent", "Trash", "Junk")
"""What users have from the start at most providers."""
FEW_SPECIAL_USE = ("Drafts", "Trash")
"""What most tests of the engine need: each mailbox more is made on each device of each of them."""
_PATHS = {"sdbox": "~/sdbox", "maildir": "~/Maildir"}


_CLIENTS_2_3 = """
ssl_ca = <{home}/ca.pem
ssl_require_crl = no
ssl_verify_client_cert = yes
auth_ssl_require_client_cert = {is_needed}
auth_ssl_username_from_cert = yes
passdb {{
  driver = static
  mechanisms = external
  args = nopassword=yes
}}
"""
_CLIENTS_2_4 = """
ssl_server_ca_file = {home}/ca.pem
ssl_server_require_crl = no
ssl_server_request_client_cert = yes
auth_ssl_require_client_cert = {is_needed}
auth_ssl_username_from_cert = yes
passdb certificates {{
  driver = static
  mechanisms_filter = external
  fields {{
    nopassword = yes
  }}
}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What differs between one server and another; a TLS port of 0 means that there is no TLS."""

    identity: Identity
    home: Path
    base_dir: Path
    mail_dir: Path
    log_file: Path
    libexec_dir: Path
    modules_dir: Path
    imap_port: int
    imaps_port: int
    pop3_port: int
    pop3s_port: int
    password: str
    capability: str | None
    separator: str
    storage: Storage
    client_certificates: ClientCertificates
    special_use: Sequence[str]


def render(settings: Settings, version: tuple[int, int]) -> str:
    """Return the text of dovecot.conf for a Dovecot of this version."""
    dialect = _for_2_3(settings) if version < (2, 4) else _for_2_4(settings)
    if settings.client_certificates != "no":
        dialect += (_CLIENTS_2_3 if version < (2, 4) else _CLIENTS_2_4).format(
            home=settings.home, is_needed=_yes(settings.client_certificates == "needed")
        )
    return dialect + _for_both(settings, unlimited="0" if version < (2, 4) else "unlimited")


def _for_2_3(settings: Settings) -> str:
    return f"""
import_environment = TZ LD_LIBRARY_PATH
ssl_cert = <{settings.home}/server.pem
ssl_key = <{settings.home}/server.key
disable_plaintext_auth = no
passdb {{
  driver = static
  args = password={settings.password}
}}
userdb {{
  driver = static
  args = uid={settings.identity.uid} gid={settings.identity.gid} home={settings.mail_dir}/%u allow_all_users=yes
}}
mail_location = {settings.storage}:{_PATHS[settings.storage]}
pop3_uidl_format = %08Xu%08Xv
service imap-login {{
  service_count = 0
}}
service pop3-login {{
  service_count = 0
}}
service imap {{
  service_count = 256
}}
"""


def _for_2_4(settings: Settings) -> str:
    # NOTE: the version settings have to come first.
    return f"""dovecot_config_version = 2.4.0
dovecot_storage_version = 2.4.0
import_environment {{
  LD_LIBRARY_PATH = %{{env:LD_LIBRARY_PATH}}
}}
ssl_server_cert_file = {settings.home}/server.pem
ssl_server_key_file = {settings.home}/server.key
auth_allow_cleartext = yes
passdb static {{
  password = {settings.password}
}}
userdb static {{
  allow_all_users = yes
  fields {{
    uid = {settings.identity.uid}
    gid = {settings.identity.gid}
    home = {settings.mail_dir}/%{{user}}
  }}
}}
mail_driver = {settings.storage}
mail_path = {_PATHS[settings.storage]}
pop3_uidl_format = %{{uid | hex(8)}}%{{uidvalidity | hex(8)}}
service imap-login {{
  restart_request_count = unlimited
}}
service pop3-login {{
  restart_request_count = unlimited
}}
service imap {{
  restart_request_count = 256
}}
"""


def _for_both(settings: Settings, *, unlimited: str) -> str:
    has_tls = bool(settings.imaps_port)
    takes_certificates = settings.client_certificates != "no"
    return f"""
protocols = imap pop3
listen = 127.0.0.1
base_dir = {settings.base_dir}
state_dir = {settings.base_dir}
libexec_dir = {settings.libexec_dir}
mail_plugin_dir = {settings.modules_dir}
login_plugin_dir = {settings.modules_dir}/login
log_path = {settings.log_file}
instance_name = syncd-test

default_internal_user = {settings.identity.user}
default_internal_group = {settings.identity.group}
default_login_user = {settings.identity.user}
first_valid_uid = {settings.identity.uid}
first_valid_gid = {settings.identity.gid}
default_vsz_limit = {unlimited}
default_process_limit = 200
default_client_limit = 1000

ssl = {_yes(has_tls)}
auth_mechanisms = plain login scram-sha-1 scram-sha-256{" external" if takes_certificates else ""}
auth_failure_delay = 0

mail_fsync = never
mail_max_userip_connections = 500
mailbox_list_index = yes
{f"imap_capability = {settings.capability}" if settings.capability else ""}
namespace inbox {{
  inbox = yes
  separator = {settings.separator}
{"".join(map(_special_use, settings.special_use))}}}

service auth {{
  client_limit = 4000
}}
# a wrong password would slow down all later logins from this address
service anvil {{
  chroot =
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  chroot =
}}
service imap-login {{
  chroot =
  process_min_avail = 1
{_listener("imap", settings.imap_port)}{_listener("imaps", settings.imaps_port)}}}
service pop3-login {{
  chroot =
{_listener("pop3", settings.pop3_port)}{_listener("pop3s", settings.pop3s_port)}}}
service imap {{
  process_min_avail = 1
}}
"""


def _special_use(name: str) -> str:
    return f"  mailbox {name} {{\n    auto = create\n    special_use = \\{name}\n  }}\n"


def _listener(name: str, port: int) -> str:
    return f"  inet_listener {name} {{\n    port = {port}\n    ssl = {_yes(name.endswith('s'))}\n  }}\n"


def _yes(condition: object) -> str:
    return "yes" if condition else "no"
