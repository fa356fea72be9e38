"""The configuration text of a test Dovecot 2.3."""

from pathlib import Path

from tests.servers.identity import Identity

_SPECIAL_USE = ("Drafts", "Sent", "Trash", "Junk")
_LOCATIONS = {"sdbox": "sdbox:~/sdbox", "maildir": "maildir:~/Maildir"}


def render(
    *,
    identity: Identity,
    home: Path,
    base_dir: Path,
    mail_dir: Path,
    log_file: Path,
    libexec_dir: Path,
    modules_dir: Path,
    ports: dict[str, int],
    tls_ports: dict[str, int],
    password: str,
    capability: str | None,
    separator: str,
    storage: str,
) -> str:
    """Return the text of dovecot.conf."""
    return f"""
protocols = imap pop3
listen = 127.0.0.1
base_dir = {base_dir}
state_dir = {base_dir}
libexec_dir = {libexec_dir}
mail_plugin_dir = {modules_dir}
login_plugin_dir = {modules_dir}/login
import_environment = TZ LD_LIBRARY_PATH
log_path = {log_file}
instance_name = syncd-test

default_internal_user = {identity.user}
default_internal_group = {identity.group}
default_login_user = {identity.user}
first_valid_uid = {identity.uid}
first_valid_gid = {identity.gid}
default_vsz_limit = 0
default_process_limit = 200
default_client_limit = 1000

ssl = {"yes" if tls_ports else "no"}
ssl_cert = <{home}/server.pem
ssl_key = <{home}/server.key

disable_plaintext_auth = no
auth_mechanisms = plain login scram-sha-1 scram-sha-256
auth_failure_delay = 0
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={identity.uid} gid={identity.gid} home={mail_dir}/%u allow_all_users=yes
}}

mail_location = {_LOCATIONS[storage]}
mail_fsync = never
mail_max_userip_connections = 500
mailbox_list_index = yes
namespace inbox {{
  inbox = yes
  separator = {separator}
{"".join(_special_use(name) for name in _SPECIAL_USE)}}}

{f"imap_capability = {capability}" if capability else ""}
pop3_uidl_format = %08Xu%08Xv

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
  service_count = 0
  process_min_avail = 1
{_listener("imap", ports["imap"], is_tls=False)}{_listener("imaps", tls_ports.get("imaps", 0), is_tls=True)}}}
service pop3-login {{
  chroot =
  service_count = 0
{_listener("pop3", ports["pop3"], is_tls=False)}{_listener("pop3s", tls_ports.get("pop3s", 0), is_tls=True)}}}
service imap {{
  service_count = 256
  process_min_avail = 1
}}
"""


def _special_use(name: str) -> str:
    return f"  mailbox {name} {{\n    auto = create\n    special_use = \\{name}\n  }}\n"


def _listener(name: str, port: int, *, is_tls: bool) -> str:
    return f"  inet_listener {name} {{\n    port = {port}\n    ssl = {'yes' if is_tls else 'no'}\n  }}\n"
