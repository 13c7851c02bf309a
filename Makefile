# SPDX-License-Identifier: Apache-2.0
# Arktos: one Makefile, no recursion, everything lands in build/.
#
#	make            build all programs into build/bin/
#	make deps       install what is missing on this machine
#	make up         install, build, start the control plane, the node
#	                joined to it, and the demo pods (STANDALONE=1: no
#	                control plane)
#	make down       stop and remove all of it (PURGE=1: the state too)
#	make check      every test; ends with 'N passed, N failed, N skipped'
#	make fuzz       every fuzzer for FUZZ_SECONDS=60, as many at once as CPUs
#	make bench      figures, side by side with a peer
#	make install    DESTDIR= PREFIX=/usr/local
#
# V=1 shows commands, SAN=1 builds with ASan and UBSan, SAN=thread with TSan
# (their 'check' boots no guests, which are emulated, unless GUEST=yes).
# T=part of a name runs only those tests: make check T=qmp

MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:
.SECONDARY:

CC	= gcc
AR	= ar
CLANG	= clang
BUILD	:= build
DEPS	:= $(BUILD)/deps
PREFIX	?= /usr/local
GUEST	?= $(if $(SAN),no,yes)
VERSION	:= 0.1.0

ifeq ($(SAN),1)
O	:= $(BUILD)/san
sanflags := -fsanitize=address,undefined -fno-sanitize-recover=all \
	    -fno-omit-frame-pointer
else ifeq ($(SAN),thread)
O	:= $(BUILD)/tsan
sanflags := -fsanitize=thread -fno-omit-frame-pointer
else
O	:= $(BUILD)
endif

WARN	:= -Wall -Wextra -Wshadow -Wvla -Wstrict-prototypes \
	   -Wmissing-prototypes -Wformat=2 -Wpointer-arith -Wwrite-strings \
	   -Wundef -Werror
CFLAGS	?= -O2 -g
cflags	:= -std=gnu11 $(CFLAGS) -D_GNU_SOURCE -I. -I$(O) \
	   -I$(DEPS)/usr/include -isystem /usr/include/libnl3 -MMD -MP $(WARN) \
	   -fno-common -fstack-protector-strong -pthread \
	   -DARKTOS_VERSION='"$(VERSION)"' $(sanflags)
ldflags	:= -pthread $(sanflags) $(LDFLAGS)
multiarch := $(shell $(CC) -dumpmachine)
bpfflags := -target bpf -mcpu=v3 -O2 -g -Wall -Wextra -Werror -I. \
	   -I/usr/include/$(multiarch)

ifneq ($(V),1)
Q := @
say = @printf '  %-7s %s\n' $(1) $(patsubst $(BUILD)/%,%,$@)
endif

# --- sources: a folder is a library, found by wildcard ---------------------
srcs	= $(sort $(shell find $(1) -name '*.c' ! -name '*.bpf.c' 2>/dev/null))
objs	= $(patsubst %.c,$(O)/%.o,$(1))

mains	:= agent/main.c controlplane/main.c
lib_src		:= $(call srcs,lib)
cgroups_src	:= $(call srcs,cgroups)
qmp_src		:= $(call srcs,qmp)
netns_src	:= $(call srcs,netns)
bpf_src		:= $(call srcs,bpf)
pod_src		:= $(call srcs,agent/supervisor)
unpack_src	:= $(call srcs,agent/image/unpack)
agent_src	:= $(filter-out $(mains) $(pod_src) $(unpack_src),\
		   $(call srcs,agent))
cp_src		:= $(filter-out $(mains),$(call srcs,controlplane))

archive	= $(if $($(1)_src),$(O)/lib$(1).a)
libs_f0	:= $(call archive,lib)
libs_f1	:= $(call archive,cgroups) $(call archive,qmp) $(call archive,netns) \
	   $(call archive,bpf)
# The agent takes controlplane/client of it, nothing else.
libs_node := $(call archive,agent) $(call archive,cp) $(libs_f1) $(libs_f0)
libs_cp	:= $(call archive,cp) $(libs_f0)
yyjson	:= $(DEPS)/lib/libyyjson.a
ext_f0	:= $(yyjson) -lyaml -lssl -lcrypto -lnghttp2 -lz
ext_node := $(ext_f0) -larchive -lbpf -lelf -lz -lnl-route-3 -lnl-3 \
	   -lcgroup -lseccomp -lcap-ng -lutil
ext_cp	:= $(ext_f0) -llmdb -lprotobuf-c

skels	:= $(patsubst %.bpf.c,$(O)/%.skel.h,$(sort $(wildcard bpf/*.bpf.c)))

bins	:= $(if $(wildcard agent/main.c),$(O)/bin/arktos-node) \
	   $(if $(pod_src),$(O)/bin/arktos-pod) \
	   $(if $(unpack_src),$(O)/bin/arktos-unpack) \
	   $(if $(wildcard controlplane/main.c),$(O)/bin/arktos-control) \
	   $(patsubst tools/%/main.c,$(O)/bin/arktos-%,$(wildcard tools/*/main.c))
bins	:= $(subst /arktos-ctl,/arktosctl,$(bins))

test_src := $(sort $(shell find selftests -name 'test_*.c'))
tests	:= $(patsubst %.c,$(O)/%,$(test_src))
# Programs that tests talk to.
peers	:= $(patsubst %.c,$(O)/%,$(sort $(shell find selftests -name 'peer_*.c')))
fuzz_src := $(sort $(wildcard selftests/fuzz/fuzz_*.c))
fuzzers	:= $(patsubst %.c,$(O)/%,$(fuzz_src))
bench_src := $(sort $(wildcard tools/bench/bench_*.c))
benches	:= $(patsubst %.c,$(O)/%,$(bench_src))
shims	:= $(patsubst %.c,$(O)/%.so,$(sort $(wildcard selftests/shims/*.c)))

all: $(bins)
	@: # and no word when there is nothing to do
build-tests: $(bins) $(tests) $(peers) $(shims)
build-fuzz: $(fuzzers)
build-bench: $(bins) $(benches)

# --- rules ------------------------------------------------------------------
$(O)/%.o: %.c | $(yyjson)
	$(call say,CC)
	$(Q)mkdir -p $(@D) && $(CC) $(cflags) -c $< -o $@

define archive_rule
$(O)/lib$(1).a: $(call objs,$($(1)_src))
	$$(call say,AR)
	$(Q)rm -f $$@ && $(AR) qcs $$@ $$^
endef
$(foreach l,lib cgroups qmp netns bpf agent cp,$(if $($(l)_src),\
	$(eval $(call archive_rule,$(l)))))

$(O)/%.bpf.o: %.bpf.c
	$(call say,BPF)
	$(Q)mkdir -p $(@D) && $(CLANG) $(bpfflags) -MMD -MP -c $< -o $@
$(O)/%.skel.h: $(O)/%.bpf.o
	$(call say,SKEL)
	$(Q)bpftool gen skeleton $< > $@
$(call objs,$(bpf_src)): | $(skels)

$(O)/bin/arktos-node: $(O)/agent/main.o $(libs_node)
	$(call say,LINK)
	$(Q)mkdir -p $(@D) && $(CC) $(ldflags) $^ -o $@ $(ext_node)

# The supervisor is static: it runs with the pod's root as its own.
# Sanitizers cannot be linked statically, so it is left out of them, and theirs is
# the one without; looked after each time.
ifeq ($(O),$(BUILD))
$(O)/bin/arktos-pod: $(call objs,$(pod_src)) $(O)/liblib.a
	$(call say,LINK)
	$(Q)mkdir -p $(@D) && $(CC) -static -pthread $(LDFLAGS) \
	    -Wl,--gc-sections $^ -o $@ $(yyjson)
else
$(O)/bin/arktos-pod: FORCE
	+$(Q)$(MAKE) --no-print-directory -s SAN= $(BUILD)/bin/arktos-pod
	$(Q)mkdir -p $(@D) && { cmp -s $(BUILD)/bin/arktos-pod $@ || \
	    cp $(BUILD)/bin/arktos-pod $@; }
endif

# Declared types become part of the program: as lines of JSON, by .incbin.
types_src := $(sort $(wildcard controlplane/schema/types/*.yaml))
$(O)/tools/mktypes: tools/mktypes.c $(libs_f0)
	$(call say,LINK)
	$(Q)mkdir -p $(@D) && $(CC) $(cflags) $(ldflags) $^ -o $@ $(ext_f0)
$(O)/controlplane/schema/types.all: $(types_src) $(O)/tools/mktypes
	$(call say,TYPES)
	$(Q)mkdir -p $(@D) && for f in $(types_src); do echo ---; cat $$f; \
	    done | $(O)/tools/mktypes > $@
$(O)/controlplane/schema/embed.o: $(O)/controlplane/schema/types.all

# Unpacks foreign layers in a sandbox, so it carries nothing of the agent.
$(O)/bin/arktos-unpack: $(call objs,$(unpack_src) agent/image/digest.c \
			agent/image/entry.c) $(libs_f0)
	$(call say,LINK)
	$(Q)mkdir -p $(@D) && $(CC) $(ldflags) $^ -o $@ -larchive -lseccomp \
	    -lcap-ng -lcrypto

$(O)/bin/arktos-control: $(O)/controlplane/main.o $(libs_cp)
	$(call say,LINK)
	$(Q)mkdir -p $(@D) && $(CC) $(ldflags) $^ -o $@ $(ext_cp)

$(O)/bin/arktosctl: $(call objs,$(call srcs,tools/ctl)) $(libs_cp)
	$(call say,LINK)
	$(Q)mkdir -p $(@D) && $(CC) $(ldflags) $^ -o $@ $(ext_cp)
define tool_rule
$(O)/bin/arktos-$(1): $(call objs,$(call srcs,tools/$(1))) $(libs_cp)
	$$(call say,LINK)
	$(Q)mkdir -p $$(@D) && $(CC) $(ldflags) $$^ -o $$@ $(ext_cp)
endef
$(foreach t,$(filter-out ctl,$(patsubst tools/%/main.c,%,\
	$(wildcard tools/*/main.c))),$(eval $(call tool_rule,$(t))))

# A test program may use every floor below the thing it tests.
$(O)/selftests/controlplane/%: $(O)/selftests/controlplane/%.o $(libs_cp)
	$(call say,LINK)
	$(Q)$(CC) $(ldflags) $^ -o $@ $(ext_cp)
# Started again and again, in emulated guests too: nothing to be linked then.
$(O)/selftests/e2e/peer_at: $(O)/selftests/e2e/peer_at.o $(libs_f0)
	$(call say,LINK)
	$(Q)$(CC) $(ldflags) $(if $(SAN),,-static) $^ -o $@ $(yyjson)
$(O)/selftests/%: $(O)/selftests/%.o $(libs_node)
	$(call say,LINK)
	$(Q)$(CC) $(ldflags) $^ -o $@ $(ext_node)
$(patsubst %,%.o,$(tests)): | $(skels)
# Benches of the control plane know nothing of the agent.
bench_parts = $(patsubst %,$(O)/tools/bench/%.o,$(1))
$(O)/tools/bench/bench_store: $(call bench_parts,bench_store load load_h1 \
			      load_h2 peer_etcd) $(libs_cp)
	$(call say,LINK)
	$(Q)$(CC) $(ldflags) $^ -o $@ $(ext_cp)
$(O)/tools/bench/bench_api: $(call bench_parts,bench_api load load_h1 load_h2 \
			    load_watch peer_etcd) $(libs_cp)
	$(call say,LINK)
	$(Q)$(CC) $(ldflags) $^ -o $@ $(ext_cp)
$(O)/tools/bench/bench_sched: $(O)/tools/bench/bench_sched.o $(libs_cp)
	$(call say,LINK)
	$(Q)$(CC) $(ldflags) $^ -o $@ $(ext_cp)
$(O)/tools/bench/bench_fair: $(O)/tools/bench/bench_fair.o $(libs_cp)
	$(call say,LINK)
	$(Q)$(CC) $(ldflags) $^ -o $@ $(ext_cp)
$(O)/tools/bench/bench_rbac: $(O)/tools/bench/bench_rbac.o $(libs_cp)
	$(call say,LINK)
	$(Q)$(CC) $(ldflags) $^ -o $@ $(ext_cp)
$(O)/tools/bench/%: $(O)/tools/bench/%.o $(libs_node)
	$(call say,LINK)
	$(Q)$(CC) $(ldflags) $^ -o $@ $(ext_node)
$(O)/selftests/shims/%.so: selftests/shims/%.c
	$(call say,SHIM)
	$(Q)mkdir -p $(@D) && $(CC) $(filter-out -fsanitize=%,$(cflags)) -fPIC \
	    -shared $< -o $@ -ldl

# Fuzzers are built with clang from instrumented objects, each compiled once for
# all of them. In a fuzzer's first lines: '// FUZZ: sources it needs'.
fuzzflags = -std=gnu11 -O1 -g -D_GNU_SOURCE -I. -I$(DEPS)/usr/include \
	    -DARKTOS_VERSION='"$(VERSION)"' -fno-sanitize-recover=all
fuzz_yyjson := $(DEPS)/fuzz/yyjson.o
fuzz_objs = $(foreach p,$(1) $(shell sed -n '1,12s,^// FUZZ:,,p' $(1)),\
	    $(if $(findstring /yyjson.c,$(p)),$(fuzz_yyjson),\
	    $(patsubst %.c,$(O)/fuzzed/%.o,$(wildcard $(p)))))
$(fuzz_yyjson): | $(yyjson)
	$(call say,FUZZ)
	$(Q)mkdir -p $(@D) && $(CLANG) $(fuzzflags) \
	    -fsanitize=fuzzer-no-link,address,undefined \
	    -c $(DEPS)/src/yyjson/src/yyjson.c -o $@.tmp && mv $@.tmp $@
$(O)/fuzzed/%.o: %.c | $(yyjson)
	$(call say,FUZZ)
	$(Q)mkdir -p $(@D) && $(CLANG) $(fuzzflags) -MMD -MP \
	    -fsanitize=fuzzer-no-link,address,undefined -c $< -o $@
.SECONDEXPANSION:
$(O)/selftests/fuzz/%: $$(call fuzz_objs,selftests/fuzz/$$*.c)
	$(call say,LINK)
	$(Q)mkdir -p $(@D) && $(CLANG) -fsanitize=fuzzer,address,undefined \
	    $^ -o $@ $(ext_cp)
$(O)/fuzzed/controlplane/schema/embed.o: fuzzflags += -I$(O)
$(O)/fuzzed/controlplane/schema/embed.o: $(O)/controlplane/schema/types.all

# --- set-up -----------------------------------------------------------------
$(yyjson):
	$(Q)BUILD=$(BUILD) tools/deps.sh build

deps:
	$(Q)BUILD=$(BUILD) tools/deps.sh build run test

up: 
	$(Q)BUILD=$(BUILD) tools/deps.sh build run
	+$(Q)$(MAKE) --no-print-directory all
	$(Q)O=$(O) STANDALONE=$(STANDALONE) LISTEN=$(LISTEN) tools/up.sh
down:
	$(Q)O=$(O) PURGE=$(PURGE) tools/down.sh

check:
	$(Q)BUILD=$(BUILD) tools/deps.sh build run test
	+$(Q)$(MAKE) --no-print-directory build-tests
	$(Q)O=$(O) SECONDS_TIMES=$(if $(SAN),8,3) GUEST=$(GUEST) selftests/run.sh $(T)
fuzz: build-fuzz
	$(Q)O=$(O) selftests/fuzz/run.sh $(T)
bench:
	$(Q)BUILD=$(BUILD) tools/deps.sh build run test
	+$(Q)$(MAKE) --no-print-directory build-bench
	$(Q)O=$(O) tools/bench/run.sh $(T)

cflags: # for tools/check/clang.sh
	$(info $(filter-out -MMD -MP -g -O2,$(cflags)))@:
format:
	clang-format -i $$(git ls-files '*.c' '*.h')
install: all
	$(Q)O=$(O) DESTDIR=$(DESTDIR) PREFIX=$(PREFIX) tools/install.sh
clean:
	rm -rf $(filter-out $(DEPS),$(wildcard $(BUILD)/*))
distclean:
	rm -rf $(BUILD)

.PHONY: FORCE cflags all build-tests build-fuzz build-bench deps up down check fuzz bench \
	format install clean distclean

-include $(shell find $(O) -path $(DEPS) -prune -o -type f -name '*.d' -print \
	2>/dev/null)
