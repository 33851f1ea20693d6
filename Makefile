# Martinet. `make help` lists what there is.

SWIFT_FLAGS  = -j 2 --explicit-target-dependency-import-check error
RELEASE      = -c release -Xswiftc -enforce-exclusivity=unchecked --scratch-path .build-release
PACKAGES     = libnghttp2-dev libprotobuf-c-dev protobuf-c-compiler protobuf-compiler libssl-dev \
               libsqlite3-dev libre2-dev pkg-config python3-venv nghttp2-client curl openssl iproute2 iptables
VENV         = .build/venv
SOURCES      = Sources Tests Package.swift
SECONDS     ?= 60
PLANE_SUITES = (Routing|Fault|Trust|Border|Interception)Scenarios|HarnessTests|logsAndSpansGo

.PHONY: help setup build release test test-planes check protos format clean demo demo-envoy demo-xds bench bench-identity bench-mesh bench-proxy peers-proxy soak \
        soak-proxy fuzz sanitize

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | column -t -s '|'

setup: $(VENV)/ready ## Install what building and testing needs (Debian packages, a pinned virtual environment)

$(VENV)/ready: Tests/requirements.txt Deploy/setup
	Deploy/setup "$(VENV)" $(PACKAGES)

build: setup ## Debug build
	swift build $(SWIFT_FLAGS)

release: setup ## Release build: .build-release/release/martinet
	swift build $(SWIFT_FLAGS) $(RELEASE) --product martinet

check: setup ## Format, layout rules, and that the generated code is what the generator makes
	swift format lint --strict --recursive --parallel $(SOURCES)
	$(VENV)/bin/python Protos/generate --check
	Tests/CProtobufTestMessages/generate --check

test: check ## Everything that must hold (under 20 minutes from clean)
	swift build $(SWIFT_FLAGS) --build-tests
	Tests/run swift test $(SWIFT_FLAGS) --skip-build

test-planes: setup ## The mesh's scenarios on Envoys alone and on martinet proxies alone (`make test` has a mix of them)
	swift build $(SWIFT_FLAGS) --build-tests
	DATA_PLANE=envoy Tests/run swift test $(SWIFT_FLAGS) --skip-build --filter '$(PLANE_SUITES)'
	DATA_PLANE=martinet Tests/run swift test $(SWIFT_FLAGS) --skip-build --filter '$(PLANE_SUITES)'

protos: setup ## Make the C and Swift code from Protos/
	$(VENV)/bin/python Protos/generate

format: ## Format the sources
	swift format format --in-place --recursive --parallel $(SOURCES)

clean: ## Remove what was built
	rm -rf .build .build-*

demo-xds: release ## A real Envoy takes raw resources from martinet and follows changes (ONCE=1: end after the story)
	$(VENV)/bin/python Deploy/demo/demo.py

demo: release ## A book shop of martinet proxies, ruled by the objects of Deploy/bookinfo (ONCE=1: end after the story)
	swift build $(SWIFT_FLAGS) $(RELEASE) --product bookinfo
	python3 Deploy/demo/bookinfo.py martinet

demo-envoy: release ## The same story on real Envoys (ONCE=1: end after the story)
	swift build $(SWIFT_FLAGS) $(RELEASE) --product bookinfo
	$(VENV)/bin/python Deploy/demo/bookinfo.py envoy

bench: setup ## Push latency, CPU and memory against a raw send floor, and the bars (ARGUMENTS="--quick --json FILE")
	swift build $(SWIFT_FLAGS) $(RELEASE) --product martinet-bench
	.build-release/release/martinet-bench $(ARGUMENTS)

bench-mesh: setup ## From objects to snapshots, and from one change to the views that it touches
	swift build $(SWIFT_FLAGS) $(RELEASE) --product martinet-bench
	.build-release/release/martinet-bench mesh

bench-identity: setup ## Certificates, handshakes, root rotation and a storm of proxies that come back, and the bars
	swift build $(SWIFT_FLAGS) $(RELEASE) --product martinet-bench
	.build-release/release/martinet-bench identity $(ARGUMENTS)

bench-proxy: release ## What a request through martinet proxy costs, beside Envoy, nginx and haproxy (ARGUMENTS="--only http")
	swift build $(SWIFT_FLAGS) $(RELEASE) --product bookinfo
	Deploy/setup "$(VENV)" wrk hey nginx-light haproxy nghttp2-client
	$(VENV)/bin/python Deploy/bench/proxy.py $(ARGUMENTS)

FUZZ_TARGETS = http1 http1Client http2 http2Client grpc detection proxyHeader protobuf json yaml objects deltaStream \
               stateOfTheWorldStream

fuzz: setup ## Each fuzz target under libFuzzer for SECONDS (60); findings in .build-fuzz/findings
	FUZZ=1 swift build -j 2 -Xswiftc -sanitize=fuzzer --scratch-path .build-fuzz --product martinet-fuzz
	for target in $(FUZZ_TARGETS); do \
	    mkdir -p .build-fuzz/corpus/$$target .build-fuzz/findings; \
	    echo "== $$target"; \
	    FUZZ_TARGET=$$target .build-fuzz/debug/martinet-fuzz -max_total_time=$(SECONDS) -print_final_stats=1 \
	        -timeout=10 -rss_limit_mb=2048 -artifact_prefix=.build-fuzz/findings/$$target- \
	        .build-fuzz/corpus/$$target Tests/FuzzTests/Corpus/$$target || exit 1; \
	done

# XCTest holds 144 bytes of its own for ever, which the leak check would report.
sanitize: setup ## The suite under the address sanitizer, and what has threads under the thread sanitizer
	ASAN_OPTIONS=detect_leaks=0 swift test -j 2 --sanitize address --scratch-path .build-asan --skip EndToEndTests
	TSAN_OPTIONS=suppressions=$(CURDIR)/Tests/thread-sanitizer.suppressions \
	    swift test -j 2 --sanitize thread --scratch-path .build-tsan --filter 'ReactorTests|DiscoveryTests'

soak-proxy: release ## Martinet's proxies under load while all about them changes, for SECONDS (an hour); fails on a failed request
	swift build $(SWIFT_FLAGS) $(RELEASE) --product bookinfo
	python3 Deploy/demo/soak.py --seconds $(if $(filter file,$(origin SECONDS)),3600,$(SECONDS)) $(ARGUMENTS)

peers-proxy: release ## Martinet's proxy between nginx, haproxy, grpcio, curl, wrk, h2load and plain sockets (ARGUMENTS="--only slow")
	Deploy/setup "$(VENV)" wrk nginx-light haproxy nghttp2-client
	$(VENV)/bin/python Deploy/bench/peers.py $(ARGUMENTS)

soak: ## Each simulation for SECONDS (60), with ever new seeds; fails with the seed that did
	swift build $(SWIFT_FLAGS) --build-tests
	SOAK=$(SECONDS) FROM=$$(date +%s)000000 swift test $(SWIFT_FLAGS) --skip-build --filter Simulation
