# Targets: build install install-dropin uninstall test soak chaos lint demo bench deps clean
# Variables: PREFIX CNI_BIN_DIR UNIT_DIR SYSCONFDIR DESTDIR VERSION COMMIT

PREFIX      ?= /usr/local
CNI_BIN_DIR ?= /opt/cni/bin
UNIT_DIR    ?= $(PREFIX)/lib/systemd/system
SYSCONFDIR  ?= /etc
DESTDIR     ?=
VERSION     ?= $(shell git describe --tags --dirty 2>/dev/null || echo 0.1.0-dev)
COMMIT      ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)

GO      ?= go
VERPKG  := github.com/berth-net/berth/internal/version
LDFLAGS := -s -w -X $(VERPKG).Version=$(VERSION) -X $(VERPKG).Commit=$(COMMIT)
# seccomp: libcontainer's filter, through libseccomp.
# netgo, osusergo: the resolvers of glibc cannot be linked statically.
TAGS    := seccomp netgo osusergo
# Every name that the plugin binary answers to. Drop-ins shadow an upstream
# plugin of that name, so they are linked only on request; those of IFABSENT
# also where no plugin has the name.
LINKS    := bridge host overlay macvlan none berth-ipam loopback
DROPINS  := host-local dhcp
IFABSENT := dhcp

export GOFLAGS := $(GOFLAGS) -buildvcs=false

.PHONY: build install install-dropin uninstall test soak chaos lint demo bench deps clean

build: bin/deps-build
	CGO_ENABLED=1 $(GO) build -trimpath -tags '$(TAGS)' -ldflags '$(LDFLAGS) -linkmode external -extldflags "-static"' -o bin/berth ./cmd/berth
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/berth-agent ./cmd/berth-agent
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/cni/berth-cni ./cmd/berth-cni
	@for name in $(LINKS) $(IFABSENT); do ln -sf berth-cni bin/cni/$$name; done

install: build
	install -d '$(DESTDIR)$(PREFIX)/bin' '$(DESTDIR)$(CNI_BIN_DIR)'
	install -m 0755 bin/berth bin/berth-agent '$(DESTDIR)$(PREFIX)/bin'
	install -m 0755 bin/cni/berth-cni '$(DESTDIR)$(CNI_BIN_DIR)/berth-cni'
	for name in $(LINKS); do ln -sf berth-cni '$(DESTDIR)$(CNI_BIN_DIR)'/$$name; done
	install -d '$(DESTDIR)$(UNIT_DIR)' '$(DESTDIR)$(SYSCONFDIR)/berth'
	sed 's|/usr/local/bin/|$(PREFIX)/bin/|; s|/etc/berth/|$(SYSCONFDIR)/berth/|' build/berth-agent.service >'$(DESTDIR)$(UNIT_DIR)/berth-agent.service'
	chmod 0644 '$(DESTDIR)$(UNIT_DIR)/berth-agent.service'
	test -e '$(DESTDIR)$(SYSCONFDIR)/berth/agent.conf' || install -m 0644 build/agent.conf '$(DESTDIR)$(SYSCONFDIR)/berth/agent.conf'
	for name in $(IFABSENT); do \
		link='$(DESTDIR)$(CNI_BIN_DIR)'/$$name; \
		[ -e "$$link" ] || ln -sf berth-cni "$$link"; \
	done

install-dropin: install
	for name in $(DROPINS); do ln -sf berth-cni '$(DESTDIR)$(CNI_BIN_DIR)'/$$name; done

# Only links that point to berth-cni go: a plugin of the same name that
# somebody put there since is not ours. Nor is a configuration that somebody
# has written.
uninstall:
	rm -f '$(DESTDIR)$(PREFIX)/bin/berth' '$(DESTDIR)$(PREFIX)/bin/berth-agent' '$(DESTDIR)$(UNIT_DIR)/berth-agent.service'
	if cmp -s build/agent.conf '$(DESTDIR)$(SYSCONFDIR)/berth/agent.conf'; then rm -f '$(DESTDIR)$(SYSCONFDIR)/berth/agent.conf'; fi
	for name in $(LINKS) $(DROPINS); do \
		link='$(DESTDIR)$(CNI_BIN_DIR)'/$$name; \
		if [ "$$(readlink "$$link")" = berth-cni ]; then rm -f "$$link"; fi; \
	done
	rm -f '$(DESTDIR)$(CNI_BIN_DIR)/berth-cni'

test: bin/deps-test build
	build/test.sh '$(TAGS)'

# 10,000 ADDs and DELs in parallel with nftables and 1,000 with iptables, which
# must leave nothing. make test does a hundred.
soak: bin/deps-test
	BERTH_SOAK=10000 $(GO) test ./plugins/bridge -run TestParallelAddsAndDelsLeaveNothing -count 1 -timeout 2h -v

# Four minutes in which agents, etcd and plugins are killed and hosts cut off,
# damaged and given up, while containers come and go. make test does a few
# seconds of it. BERTH_CHAOS_SEED repeats what was chosen in another run.
CHAOS_SECONDS ?= 240
chaos: bin/deps-test
	BERTH_CHAOS_SECONDS=$(CHAOS_SECONDS) $(GO) test ./agent -run '^TestChaos$$' -count 1 -timeout 2h -v

lint: bin/staticcheck
	$(GO) mod tidy -diff
	$(GO) vet -tags '$(TAGS)' ./...
	bin/staticcheck -tags '$(TAGS)' ./...

demo: bin/deps-demo build
	$(GO) run ./test/demo -berth bin/berth -image bin/image

bench: bin/deps-test build
	$(GO) run ./bench

deps: bin/deps-test

clean:
	rm -rf bin

# Which packages of build/packages.txt are needed: those marked "build:" to
# compile, those marked "demo:" besides for the demo, all of them for the
# tests.
bin/deps-%: build/packages.txt build/deps.sh
	build/deps.sh $*
	@mkdir -p bin && touch $@

# In a module of its own, so that what the linter needs stays out of go.mod.
bin/staticcheck: build/tools/go.mod build/tools/go.sum
	$(GO) build -C build/tools -o ../../bin/staticcheck honnef.co/go/tools/cmd/staticcheck
