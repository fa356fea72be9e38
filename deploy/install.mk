# make install: the program in a virtual environment of its own, the units of systemd that start it, an example, man
# pages, completions for bash, zsh and fish, and the JSON schema of the configuration.
#
# DESTDIR is put before every path while installing, and nothing that is installed knows of it. SYSTEMD is where units,
# users and directories are announced: beside the program where systemd looks there, else in /etc.

PREFIX ?= /usr/local
DESTDIR ?=
HOME_PREFIX := $(HOME)/.local
IS_HOME := $(filter $(HOME_PREFIX),$(PREFIX))
ifneq ($(IS_HOME),)
SYSTEMD ?= $(PREFIX)/share
else
SYSTEMD ?= $(if $(filter /usr /usr/local,$(PREFIX)),$(PREFIX)/lib,/etc)
endif

PROGRAM := $(DESTDIR)$(PREFIX)/lib/syncd
INSTALL := install -D -m 0644
SHARED := $(shell cd deploy/share && find * -type f)
UNIT := sed 's|^\(Exec[A-Za-z]*=\)[^ ]*|\1$(PREFIX)/bin/syncd|'
BUILD ?= build
WHEEL := $(BUILD)/wheel
BUILDER := $(BUILD)/builder

.PHONY: install uninstall program files wheel

# What root has built in the checkout would be in the way of its owner.
install: files ## install for the whole machine; PREFIX=$HOME/.local: for you only; DESTDIR: for a package
	build=$$(mktemp -d) && trap 'rm -rf "$$build"' EXIT && $(MAKE) --no-print-directory program BUILD="$$build"

program: wheel
	rm -rf "$(PROGRAM)"
	$(PYTHON) -B -m tests.servers.environment "$(PROGRAM)"
	"$(PROGRAM)/bin/python" -m pip --quiet --disable-pip-version-check --no-input install --no-compile \
		--require-hashes --requirement requirements.txt
	"$(PROGRAM)/bin/python" -m pip --quiet --disable-pip-version-check --no-input install --no-compile \
		--no-deps --no-index $(WHEEL)/*.whl
	rm -f "$(PROGRAM)"/lib/python*/site-packages/syncd-*.dist-info/direct_url.json
ifneq ($(DESTDIR),)
	grep -rlIF "$(PROGRAM)" "$(PROGRAM)/bin" "$(PROGRAM)/pyvenv.cfg" | xargs sed -i 's|$(PROGRAM)|$(PREFIX)/lib/syncd|g'
endif
	"$(PROGRAM)/bin/python" -m compileall -q -f $(if $(DESTDIR),-s "$(DESTDIR)" -p /) "$(PROGRAM)/lib"
	mkdir -p "$(DESTDIR)$(PREFIX)/bin"
	ln -sfn ../lib/syncd/bin/syncd "$(DESTDIR)$(PREFIX)/bin/syncd"

uninstall: ## remove what make install has put in place, with the same PREFIX; no mail, no configuration
	rm -rf "$(PROGRAM)" "$(DESTDIR)$(PREFIX)/share/syncd"
	rm -f $(foreach file,$(SHARED),"$(DESTDIR)$(PREFIX)/share/$(file)")
	rm -f "$(DESTDIR)$(PREFIX)/bin/syncd" "$(DESTDIR)$(SYSTEMD)/systemd/user/syncd.service"
ifeq ($(IS_HOME),)
	rm -f "$(DESTDIR)$(SYSTEMD)/systemd/system/syncd.service"
	rm -f "$(DESTDIR)$(SYSTEMD)/sysusers.d/syncd.conf" "$(DESTDIR)$(SYSTEMD)/tmpfiles.d/syncd.conf"
endif

# What is installed beside the program.
files:
	$(INSTALL) deploy/syncd.example.toml "$(DESTDIR)$(PREFIX)/share/syncd/syncd.example.toml"
	for file in $(SHARED); do $(INSTALL) "deploy/share/$$file" "$(DESTDIR)$(PREFIX)/share/$$file" || exit 1; done
	mkdir -p "$(DESTDIR)$(SYSTEMD)/systemd/user"
	$(UNIT) deploy/systemd/user/syncd.service >"$(DESTDIR)$(SYSTEMD)/systemd/user/syncd.service"
ifeq ($(IS_HOME),)
	mkdir -p "$(DESTDIR)$(SYSTEMD)/systemd/system"
	$(UNIT) deploy/systemd/syncd.service >"$(DESTDIR)$(SYSTEMD)/systemd/system/syncd.service"
	$(INSTALL) deploy/systemd/sysusers.d/syncd.conf "$(DESTDIR)$(SYSTEMD)/sysusers.d/syncd.conf"
	$(INSTALL) deploy/systemd/tmpfiles.d/syncd.conf "$(DESTDIR)$(SYSTEMD)/tmpfiles.d/syncd.conf"
endif

# Built without what checks and tests need: whoever installs, as root perhaps, gets none of that.
wheel:
	@$(NEW_ENOUGH)
	rm -rf $(WHEEL)
	$(PYTHON) -B -m tests.servers.environment $(BUILDER)
	$(BUILDER)/bin/python -m pip --quiet --disable-pip-version-check --no-input install \
		--require-hashes --requirement requirements-build.txt
	$(BUILDER)/bin/python -m pip --quiet --disable-pip-version-check --no-input wheel \
		--no-deps --no-build-isolation --wheel-dir $(WHEEL) .
