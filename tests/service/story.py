"""The story of the service: installed as the README says, edited, hung, killed, stopped; each step is checked."""

import datetime
import json
import re
import subprocess
import tempfile
import time
from pathlib import Path

from tests.servers.certificates import write_certificates
from tests.servers.debian import CHECKOUT
from tests.service.steps import CONFIG, INBOX, PROVIDER, UNIT, Steps

USER, HOME = "ana", "/home/ana"
STOP_MAX_S = 10.0
_PASSWORD = "Tr0ub4dor-and-3"
_INSTALL_S = 900
_ISP_INBOX = "/srv/mail/laptop/.isp.INBOX"
_CREDENTIAL = "syncd_accounts__work__password:/etc/syncd/credentials/work"
_DOVECOT = f"""
ssl_cert = </etc/dovecot/server.pem
ssl_key = </etc/dovecot/server.key
passdb {{
  driver = static
  args = password={_PASSWORD}
}}
userdb {{
  driver = static
  args = uid=provider gid=provider home={PROVIDER}/%u allow_all_users=yes
}}
mail_location = maildir:~/Maildir
first_valid_uid = 100
namespace inbox {{
  mailbox Trash {{
    auto = create
  }}
}}
"""
_ISP = """
[accounts.isp]
type = "pop3"
host = "localhost"
username = "isp"
password_command = ["cat", "/etc/syncd/isp.password"]
"""
_PHONE = '\n[devices.phone]\npath = "/srv/mail/phone"\nlayout = "fs"\n'
_HOOK = """#!/bin/sh
cat >"$HOME/told"
touch /etc/hook /home/ana/hook 2>"$HOME/refused" || true
"""


class Story(Steps):
    """Play it on a machine; StepFailedError where something is not as it should be."""

    def play(self) -> None:
        """Play all of it, in its order."""
        self._is_installed()
        self._boots()
        self._is_set_up_as_the_readme_says()
        self._is_active_only_when_ready()
        self._syncs_both_ways()
        self._is_confined_and_hinders_nothing()
        self._answers_commands()
        self._is_reloaded()
        self._is_killed()
        self._hangs()
        self._logs_to_the_journal()
        self._stops()
        self._starts_with_the_machine()
        self._serves_one_user()

    def _is_installed(self) -> None:
        self._narrator.begin("It is installed by make install, for the machine and for one user")
        machine = self._machine
        self._machine.enter("useradd", "--create-home", "--shell", "/bin/bash", USER)
        machine.put(f"{HOME}/checkout.tar", _checkout())
        machine.enter("sh", "-c", f"mkdir {HOME}/syncd && tar -x -C {HOME}/syncd -f {HOME}/checkout.tar")
        machine.enter("chown", "--recursive", f"{USER}:", HOME)
        began = time.monotonic()
        machine.enter("make", "--directory", f"{HOME}/syncd", "install", timeout_s=_INSTALL_S)
        self._narrator.took("make install", time.monotonic() - began)
        began = time.monotonic()
        command = ("make", "--directory", f"{HOME}/syncd", "install", f"PREFIX={HOME}/.local")
        machine.enter(*command, user=USER, timeout_s=_INSTALL_S)
        self._narrator.took("make install PREFIX=$HOME/.local", time.monotonic() - began)

    def _boots(self) -> None:
        self._narrator.begin("The machine boots, with a Dovecot in it")
        with tempfile.TemporaryDirectory() as made:
            write_certificates(Path(made), left=datetime.timedelta(days=60))
            ca, certificate, key = (Path(made, name).read_bytes() for name in ("ca.pem", "server.pem", "server.key"))
        self._machine.put("/usr/local/share/ca-certificates/provider.crt", ca)
        self._machine.put("/etc/dovecot/server.pem", certificate)
        self._machine.put("/etc/dovecot/server.key", key, mode=0o600)
        self._machine.put("/etc/dovecot/local.conf", _DOVECOT.encode())
        self._machine.put("/etc/dovecot/conf.d/10-auth.conf", b"auth_mechanisms = plain\n")
        self._machine.enter("update-ca-certificates")
        self._machine.enter("useradd", "--system", "provider")
        self._narrator.took("everything is started", self._machine.boot())
        version = self._machine.text("systemctl", "--version").splitlines()[0]
        self._check(self._machine.text("cat", "/proc/1/comm") == "systemd", f"PID 1 is {version}")
        self._check(self._show("ActiveState", unit="dovecot.service") == "active", "Dovecot serves")
        self._deliver("ana", range(self._count))
        self._deliver("isp", range(5))

    def _is_set_up_as_the_readme_says(self) -> None:
        self._narrator.begin("It is set up as the README says")
        machine = self._machine
        machine.shell("systemd-sysusers syncd.conf && systemd-tmpfiles --create syncd.conf")
        self._check(
            self._modes("/etc/syncd", "/srv/mail") == ["root:syncd 750", "syncd:syncd 700"], "users, directories"
        )
        machine.shell(f"umask 077; install -d /etc/syncd/credentials; echo '{_PASSWORD}' >/etc/syncd/credentials/work")
        options = "--host localhost --username ana --account work --device laptop --password-file /dev/null"
        said = machine.shell(f"syncd init {options}")
        self._check(f"{CONFIG}: written" in said, "syncd init writes the configuration")
        self._check(self._modes(CONFIG) == ["root:syncd 640"], "which root writes, and the service reads")
        config = machine.text("cat", CONFIG)
        self._configure(re.sub(r"(?m)^(# The first line of it.*|password_file = .*)\n", "", config) + _ISP)
        machine.shell(f"printf %s '{_PASSWORD}' | install -g syncd -m 0640 /dev/stdin /etc/syncd/isp.password")
        self._drop_in("credential", f"LoadCredential={_CREDENTIAL}")

    def _is_active_only_when_ready(self) -> None:
        self._narrator.begin("It is active only when it is ready")
        machine = self._machine
        machine.text("systemctl", "start", "--no-block", UNIT)
        self._until("it has begun", lambda: self._pid() > 0)
        machine.shell(f"kill -STOP {self._pid()}")
        self._check(self._show("ActiveState") == "activating", "a daemon that is not ready is activating")
        machine.shell(f"kill -CONT {self._pid()}")
        began = time.monotonic()
        machine.shell(f"systemctl daemon-reload && systemctl enable --now {UNIT}")
        self._narrator.took("systemctl enable --now came back", time.monotonic() - began)
        self._check(self._show("ActiveState") == "active", "it is active")
        machine.text("syncd", "health")
        self._narrator.fact("and answers")

    def _syncs_both_ways(self) -> None:
        self._narrator.begin(f"It syncs {self._count:,} messages, by the password that systemd gives it")
        self._machine.text("syncd", "sync")
        self._check(self._is_complete(), "each message is there, once, octet by octet")
        self._check(len(self._files(_ISP_INBOX)) == 5, "and the POP3 mail, by a password_command")
        self._check(_PASSWORD not in self._machine.text("cat", CONFIG), "the configuration has no password")
        self._deliver("ana", range(self._count, self._count + 1))
        self._count += 1
        self._until("a new message is there", lambda: len(self._files(INBOX)) == self._count)
        mark = f'cd {INBOX}; for one in new/*; do mv "$one" "cur/${{one#new/}}:2,F"; break; done'
        self._machine.shell(f"sudo -u syncd sh -euc '{mark}'")
        flagged = f"ls {PROVIDER}/ana/Maildir/cur | grep -c ':2,[A-Z]*F' || true"
        self._until("a flag of the device is at the provider", lambda: self._machine.shell(flagged) == "1")

    def _is_confined_and_hinders_nothing(self) -> None:
        self._narrator.begin("It is confined, and its hook does what it may")
        machine = self._machine
        status = dict(
            line.split(":", 1)
            for line in machine.text("cat", f"/proc/{self._pid()}/status").splitlines()
            if ":" in line
        )
        self._check(
            {int(status[f"Cap{kind}"], 16) for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {0}, "no capability"
        )
        self._check((status["NoNewPrivs"].strip(), status["Seccomp"].strip()) == ("1", "2"), "no new rights, few calls")
        users = machine.text("stat", "--format=%U", f"/proc/{self._pid()}")
        self._check(users == "syncd", "it is the user syncd")
        exposure = machine.text("systemd-analyze", "security", "--no-pager", UNIT).splitlines()[-1]
        self._narrator.fact(exposure.strip("→ "))
        machine.put("/usr/local/bin/hook", _HOOK.encode(), mode=0o755)
        self._configure(machine.text("cat", CONFIG) + '\n[hooks]\non_new_mail = ["/usr/local/bin/hook"]\n')
        machine.text("systemctl", "reload", UNIT)
        self._deliver("ana", range(self._count, self._count + 1))
        self._count += 1
        told = "/var/lib/syncd/told"
        self._until("the hook is told of new mail", lambda: machine.attempt("test", "-s", told).returncode == 0)
        mailboxes = json.loads(machine.text("cat", told))["mailboxes"]
        self._check([(one["account"], one["count"]) for one in mailboxes] == [("work", 1)], "of which, and how much")
        refused = "/var/lib/syncd/refused"
        self._until("it is over", lambda: machine.attempt("test", "-s", refused).returncode == 0)
        said = machine.text("cat", refused)
        self._check("/etc/hook': Read-only file system" in said, "it cannot write to /etc")
        self._check("/home/ana/hook': Permission denied" in said, "and sees no home directory")

    def _answers_commands(self) -> None:
        self._narrator.begin("Its commands work, for root and for its user")
        machine = self._machine
        commands = ("status", "plan", "history", "holds", "health", "check-config", "doctor --login", "sync")
        for user in ("root", "syncd"):
            for command in commands:
                machine.shell(f"syncd {command}" if user == "root" else f"sudo -u syncd syncd {command}")
            self._narrator.fact(f"{', '.join(commands)}: as {user}")
        stranger = machine.attempt("syncd", "status", user=USER)
        said = stranger.stderr.decode().strip()
        self._check(stranger.returncode != 0 and "Traceback" not in said, f"another user is told: {said}")
        machine.shell("sudo -u syncd syncd backup /var/lib/syncd/copy.db")
        check = (
            "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute('PRAGMA integrity_check').fetchone()[0])"
        )
        sound = machine.text("sudo", "-u", "syncd", "python3", "-c", check, "/var/lib/syncd/copy.db")
        self._check(sound == "ok", "a backup beside the running daemon is sound")

    def _is_reloaded(self) -> None:
        self._narrator.begin("Its configuration is edited")
        machine, pid = self._machine, self._pid()
        sound = machine.text("cat", CONFIG)
        self._configure(sound + _PHONE)
        machine.text("systemctl", "reload", UNIT)
        devices = [one["name"] for one in self._status()["devices"]]
        self._check(devices == ["laptop", "phone"], "systemctl reload comes back when a new device counts")
        machine.text("syncd", "sync")
        self._configure(f"{sound}{_PHONE}layuot = 1\n")
        line = len(f"{sound}{_PHONE}".splitlines()) + 1
        problem = f"{CONFIG}:{line}: devices.phone.layuot: unknown key"
        failed = machine.attempt("systemctl", "reload", UNIT)
        self._check(failed.returncode != 0, "it fails where the configuration cannot be used")
        self._check(problem in self._show("StatusText"), "and systemctl status has the problem with its line")
        said = machine.text("journalctl", "--no-pager", "--output=cat", f"--unit={UNIT}", "--lines=20")
        self._check(problem in said, "as the journal has")
        self._check(
            [one["name"] for one in self._status()["devices"]] == devices, "the daemon goes on with what it had"
        )
        self._configure(sound + _PHONE)
        self._until("mended, all is well", lambda: self._show("StatusText").startswith("2 accounts"))
        self._check(self._pid() == pid, "by one and the same process")

    def _is_killed(self) -> None:
        self._narrator.begin("It is killed while it syncs")
        self._deliver("ana", range(self._count, self._count + 500))
        before, self._count = self._count, self._count + 500
        self._until("some of 500 new messages are there", lambda: len(self._files(INBOX)) > before)
        killed = self._pid()
        self._machine.shell(f"kill -KILL {killed}")
        self._until("it runs again", lambda: self._pid() not in (0, killed) and self._show("ActiveState") == "active")
        self._check(self._show("NRestarts") == "1", "systemd started it again, by itself")
        self._machine.text("syncd", "sync")
        self._check(self._is_complete(), "each message is there, once, octet by octet")

    def _hangs(self) -> None:
        self._narrator.begin("It hangs")
        machine = self._machine
        self._drop_in("watchdog", "WatchdogSec=3s")
        machine.text("systemctl", "restart", UNIT)
        hung = self._pid()
        began = time.monotonic()
        machine.shell(f"kill -STOP {hung}")
        self._until("the watchdog ends it", lambda: self._pid() != hung, since=began)
        self._until("it runs again", lambda: self._show("ActiveState") == "active")
        log = machine.text("journalctl", "--no-pager", "--output=cat", f"--unit={UNIT}")
        self._check("Watchdog timeout" in log, "systemd says why")
        self._check("most recent call first" in log, "and the log where each thread was")
        machine.text("syncd", "sync")
        machine.shell(f"rm /etc/systemd/system/{UNIT}.d/watchdog.conf; systemctl daemon-reload")
        machine.text("systemctl", "restart", UNIT)
        self._check(self._show("WatchdogUSec") == "5min", "its own watchdog has five minutes")

    def _logs_to_the_journal(self) -> None:
        self._narrator.begin("It logs to the journal, in fields")
        found = self._machine.text("journalctl", "--no-pager", "--output=json", "SYNCD_ACCOUNT=work")
        records = [json.loads(line) for line in found.splitlines()]
        events = {record["SYNCD_EVENT"] for record in records}
        self._check({"account_connected", "mailboxes_listed"} <= events, f"{len(records)} records of the account work")
        owners = {(record["_SYSTEMD_UNIT"], record["SYSLOG_IDENTIFIER"]) for record in records}
        self._check(owners == {(UNIT, "syncd")}, f"all of them of {UNIT}")
        whole = self._machine.text("journalctl", "--no-pager", "--output=json")
        self._check(_PASSWORD not in whole, "nothing in the journal has the password")

    def _stops(self) -> None:
        self._narrator.begin("It stops")
        began = time.monotonic()
        self._machine.text("systemctl", "stop", UNIT)
        took = time.monotonic() - began
        ended = (self._show("Result"), self._show("ExecMainStatus"), self._show("StatusText"))
        self._check(ended[:2] == ("success", "0") and took < STOP_MAX_S, f"{took:.1f} s after it was asked to")
        self._check(self._modes("/var/lib/syncd") == ["syncd:syncd 700"], "the store is its own")
        said = self._machine.shell("sudo -u syncd syncd status")
        self._check("isp" in said and "work" in said, "syncd status shows what the store remembers")
        strangers = "find /srv/mail /var/lib/syncd ! -user syncd -o ! -group syncd -o -perm /077 ! -type l"
        self._check(self._machine.shell(strangers) == "", "mail and store are its own, and nobody else can read them")

    def _starts_with_the_machine(self) -> None:
        self._narrator.begin("The machine is powered off, and boots")
        self._machine.shell(f"systemctl start {UNIT}")
        self._machine.power_off()
        self._narrator.took("everything is started", self._machine.boot())
        self._check(self._show("ActiveState") == "active", "it runs, without a word")
        self._machine.text("syncd", "sync")
        self._check(self._is_complete(), "each message is there, once, octet by octet")

    def _serves_one_user(self) -> None:
        self._narrator.begin("It serves one user, who has no session")
        machine = self._machine
        machine.shell(f"loginctl enable-linger {USER}")
        uid = machine.text("id", "--user", USER)
        self._deliver("own", range(20))
        machine.put(f"{HOME}/pass", f"#!/bin/sh\necho '{_PASSWORD}'\n".encode(), mode=0o755)

        def ana(script: str) -> str:
            own = f"export XDG_RUNTIME_DIR=/run/user/{uid} PATH={HOME}/.local/bin:$PATH"
            return machine.shell(f"{own} SYNCD_CONFIG={HOME}/.config/syncd/syncd.toml; {script}", user=USER)

        self._until("user@.service is there", lambda: self._show("ActiveState", unit=f"user@{uid}.service") == "active")
        ana(f"syncd init --host localhost --username own --account own --device desk --password-command {HOME}/pass")
        ana("systemctl --user daemon-reload && systemctl --user enable --now syncd")
        self._check(ana("systemctl --user is-active syncd") == "active", "systemctl --user enable --now starts it")
        ana("syncd sync")
        found = len(self._files(f"{HOME}/mail/desk/.own.INBOX"))
        self._check(found == 20, "its mail is there, by a password_command")
        self._check("All well" in ana("syncd status"), "syncd status finds it")
        ana("systemctl --user reload syncd")
        pid = ana("systemctl --user show --property=MainPID --value syncd")
        ana(f"kill -KILL {pid}")
        shown = "systemctl --user show --property=ActiveState,MainPID syncd"
        self._until(
            "killed, it runs again", lambda: "=active" in (said := ana(shown)) and f"={pid}\n" not in f"{said}\n"
        )
        began = time.monotonic()
        ana("systemctl --user stop syncd")
        took = time.monotonic() - began
        self._check(took < STOP_MAX_S, f"it ended {took:.1f} s after it was asked to")


def _checkout() -> bytes:
    """Return the checkout as a person gets it, with what is not committed yet."""
    listed = subprocess.run(
        ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"),
        cwd=CHECKOUT,
        capture_output=True,
        check=True,
    ).stdout
    there = b"\0".join(name for name in listed.split(b"\0") if name and Path(CHECKOUT, name.decode()).exists())
    packing = ("tar", "-c", "--null", "--files-from=-")
    return subprocess.run(packing, cwd=CHECKOUT, input=there, capture_output=True, check=True).stdout
