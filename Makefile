# Everything that is done to Plumbline by hand or in CI. It needs Go, git, make and a C compiler (for the race detector);
# the rest comes from .ci/tools, which keeps it in a cache outside the checkout.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory

# Terraform asks its maker's server for news unless told not to.
export CHECKPOINT_DISABLE = 1

# Where everything is required, both engines are.
engines := engine $(if $(filter 1,$(PLUMBLINE_REQUIRE_ALL)),tofu)

# Extra arguments for the program or the tests, as in: make demo ARGS=--help, make test ARGS='-run TestStore'
ARGS ?=

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: build
build: ## build bin/plumbline
	CGO_ENABLED=0 go build -trimpath -o bin/plumbline ./cmd/plumbline

.PHONY: tools
tools: test-tools ## install what the checks and tests need: an engine, a provider, PostgreSQL, linters
	@.ci/tools golangci-lint staticcheck govulncheck tflint actionlint

.PHONY: test-tools
test-tools:
	@.ci/tools system $(engines) provider-local oidc-provider goaws local-kms
	@.ci/tools postgres || [ "$(PLUMBLINE_REQUIRE_ALL)" != 1 ]

.PHONY: check
check: ## formatting, vet, linters (Go, Terraform, workflows), known vulnerabilities
	@unformatted=$$(gofmt -l $(wildcard cmd internal)); \
		if [ -n "$$unformatted" ]; then printf 'not formatted (gofmt -w):\n%s\n' "$$unformatted"; exit 1; fi
	go vet ./...
	"$$(.ci/tools golangci-lint)" run ./...
	"$$(.ci/tools staticcheck)" ./...
	@.ci/vulncheck ./...
	"$$(.ci/tools tflint)" --chdir=modules --recursive --config="$(CURDIR)/.tflint.hcl"
	"$$(.ci/tools tflint)" --chdir=examples/aws --recursive --config="$(CURDIR)/.tflint.hcl"
	"$$(.ci/tools actionlint)" deploy/ci/github/*.yml

.PHONY: test
test: test-tools ## all tests with the race detector; starts the servers it needs, except Gitea
	go test -race -timeout 20m $(ARGS) ./...

.PHONY: e2e
e2e: ## the tests that need a real Gitea, another's GitHub and Slack, both engines, providers with servers of their own, and a simulated AWS
	@.ci/tools system engine tofu provider-local provider-postgresql provider-minio gitea emulate minio oidc-provider goaws local-kms
	@.ci/tools postgres
	@.ci/tools cloudsim || [ $$? = 3 ]
	PLUMBLINE_E2E=1 PLUMBLINE_REQUIRE_ALL=1 go test -race -timeout 20m -count=1 $(ARGS) ./internal/forge/gitea ./internal/forge/github ./internal/forge/hook ./internal/testenv ./internal/notify ./internal/aws ./internal/artifact
	PLUMBLINE_E2E=1 PLUMBLINE_REQUIRE_ALL=1 go test -race -timeout 20m -count=1 -run TestRealProvider $(ARGS) ./internal/web
	PLUMBLINE_E2E=1 PLUMBLINE_REQUIRE_ALL=1 go test -race -timeout 40m -count=1 -run 'TestJourney|TestCommands|TestGate|TestPlansOfRealProviders|TestDrift|TestNotify|TestModules|TestExamples|TestRoles|TestArtifactsInS3' $(ARGS) ./internal/e2e

.PHONY: bench
bench: test-tools ## measure, and print a table
	go test -run '^$$' -bench . -benchtime 1x -timeout 90m $(ARGS) ./cmd/plumbline ./internal/discover

.PHONY: demo
demo: build ## try Plumbline on this machine, with a sample repository
	@.ci/tools system engine provider-local
	PATH="$$PATH:$$(dirname "$$(.ci/tools engine)")" bin/plumbline demo --providers "$$(.ci/tools provider-local)" $(ARGS)

.PHONY: demo-tour
demo-tour: test-tools ## what the demo shows, without hands
	go test -count=1 -run TestDemoTour -v $(ARGS) ./internal/e2e/...

.PHONY: clean
clean: ## remove what was built here (the cache of .ci/tools stays)
	rm -rf bin
