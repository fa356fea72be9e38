"""syncd as a service of a live systemd: `make service-test`, which is no part of `make test`."""
