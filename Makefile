# aibuild: make demo and make test are all that a newcomer needs.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build

export PATH := $(PATH):/usr/local/go/bin
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
GOBUILD := CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)'
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

# Rooms with fuzz targets.
FUZZ := ./gitlab-hooks ./jenkins ./jenkins/jenkinstest ./aibuild/api
# Rooms whose tests start no guest run under the race detector.
RACE := ./aibuild/process ./aibuild/definition ./aibuild/publish ./aibuild/lineage ./aibuild/api ./aibuild/privatedb ./jenkins/... ./gitlab-hooks/... ./.ci/bench .
# The others, in order: long ones first.
GUESTS := ./cmd/... ./aibuild ./aibuild/harness ./aibuild/qemu ./aibuild/packer ./aibuild/glance ./examples/...

.PHONY: build deps demo demo-push down test test-browser test-groovy test-realjenkins test-slow check bench bench-hooks bench-jenkins bench-api install dist fmt clean

build: ## bin/aibuild
	@$(MAKE) --no-print-directory bin/aibuild

.PHONY: bin/aibuild
bin/aibuild:
	@$(GOBUILD) -o bin/aibuild ./cmd/aibuild

deps: ## the Debian packages that are missing
	@.ci/deps test

demo: ## the whole story against real servers, in numbered lines
	@.ci/deps demo
	@$(MAKE) --no-print-directory build
	@examples/demo.sh

demo-push: ## from git push to OpenStack and back to the commit, in numbered lines
	@.ci/deps demo
	@$(MAKE) --no-print-directory build
	@$(GOBUILD) -o bin/aibuild-standins ./cmd/aibuild-standins
	@examples/demo-push.sh

down: ## stop what make demo and make demo-push left up
	@examples/stack/stack down

test: ## every test, against real servers; nothing is skipped
	@.ci/deps test
	@$(MAKE) --no-print-directory build
	@.ci/test fuzz $(FUZZ) race $(RACE) -- $(GUESTS)

test-browser: ## the pages in a real browser; AIBUILD_SCREENSHOTS names the folder that keeps its pictures
	@.ci/deps test
	@$(MAKE) --no-print-directory build
	@.ci/test run TestBrowser -- ./cmd/aibuild

test-groovy: ## the shared library, under Jenkins' version of Groovy, with the real program
	@.ci/deps test
	@.ci/test run TestGroovy -- ./jenkins ./cmd/aibuild

test-realjenkins: ## the setup in the Jenkins of JENKINS_URL, JENKINS_USER and JENKINS_TOKEN, in folders that are deleted
	@go test -count=1 -tags realjenkins -run RealJenkins ./jenkins ./cmd/aibuild

test-slow: ## the Debian 12 image, built, tested and released
	@.ci/deps slow
	@$(MAKE) --no-print-directory build
	@GOFLAGS=-tags=slow .ci/test run TestSlow -- ./cmd/aibuild

check: ## vet, staticcheck and the tests that need no server
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo 'check: gofmt would change these files; run make fmt' >&2; exit 1; }
	@go vet ./... ./.ci/bench ./.ci/testsum
	@go vet -tags realjenkins ./jenkins ./cmd/aibuild
	@go run $(STATICCHECK) ./... ./.ci/bench ./.ci/testsum
	@go test -short ./aibuild/process ./aibuild/definition ./jenkins/... ./gitlab-hooks/... .

bench: ## ratios against peers and limits in one run, the bound beside each
	@.ci/deps bench
	@$(MAKE) --no-print-directory build
	@go run ./.ci/bench

bench-hooks: ## only the parts about pushes
	@.ci/deps bench
	@$(MAKE) --no-print-directory build
	@go run ./.ci/bench hooks

bench-api: ## only the part about reading: a million images (BENCH_IMAGES=N for another number)
	@.ci/deps bench
	@$(MAKE) --no-print-directory build
	@go run ./.ci/bench api

bench-jenkins: ## only the part about the shared library
	@.ci/deps bench
	@$(MAKE) --no-print-directory build
	@go run ./.ci/bench jenkins

PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
SHARE = $(DESTDIR)$(PREFIX)/share

install: build ## binary, manual page, completions, unit, shared library; the configuration where there is none
	@install -D -m 755 bin/aibuild $(DESTDIR)$(PREFIX)/bin/aibuild
	@install -d $(SHARE)/man/man1 $(SHARE)/bash-completion/completions $(SHARE)/zsh/site-functions
	@bin/aibuild man >$(SHARE)/man/man1/aibuild.1
	@bin/aibuild completion bash >$(SHARE)/bash-completion/completions/aibuild
	@bin/aibuild completion zsh >$(SHARE)/zsh/site-functions/_aibuild
	@install -D -m 644 -t $(SHARE)/doc/aibuild README.md CHANGELOG.md LICENSE examples/aibuild-config.yaml
	@install -D -m 644 -t $(SHARE)/aibuild schema.sql
	@install -D -m 644 -t $(SHARE)/aibuild/jenkins/vars jenkins/vars/*
	@install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	@sed 's|/usr/local/bin/|$(PREFIX)/bin/|' examples/deploy/aibuild.service >$(DESTDIR)$(PREFIX)/lib/systemd/system/aibuild.service
	@chmod 644 $(SHARE)/man/man1/aibuild.1 $(SHARE)/bash-completion/completions/aibuild $(SHARE)/zsh/site-functions/_aibuild $(DESTDIR)$(PREFIX)/lib/systemd/system/aibuild.service
	@install -d -m 750 $(DESTDIR)$(SYSCONFDIR)/aibuild
	@[ -e $(DESTDIR)$(SYSCONFDIR)/aibuild/aibuild-config.yaml ] || install -m 640 examples/aibuild-config.yaml $(DESTDIR)$(SYSCONFDIR)/aibuild/

NAME = aibuild-$(VERSION)-linux-$(shell go env GOARCH)
export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 0)

dist: ## dist/: what make install installs, in a tarball with its checksum; the same bytes whenever it is made
	@rm -rf dist/$(NAME)*
	@$(MAKE) --no-print-directory install DESTDIR=$(CURDIR)/dist/$(NAME)
	@tar -C dist --sort=name --owner=0 --group=0 --numeric-owner --mode=u+rw,go=rX --mtime=@$(SOURCE_DATE_EPOCH) -cf - $(NAME) | gzip -n9 >dist/$(NAME).tar.gz
	@rm -rf dist/$(NAME)
	@cd dist && sha256sum $(NAME).tar.gz >SHA256SUMS && cat SHA256SUMS

fmt:
	@gofmt -w $$(git ls-files '*.go')

clean:
	@rm -rf bin dist
