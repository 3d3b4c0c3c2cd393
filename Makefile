# woq: one makefile, not recursive. `make help` lists the targets.
#
# CC CFLAGS CPPFLAGS LDFLAGS PREFIX DESTDIR belong to the user; our own flags are apart.
# V=1 shows commands, SAN=address,undefined builds everything a second time under build-address-undefined,
# CROSS=aarch64-linux-gnu under build-aarch64-linux-gnu, for that machine.

.SUFFIXES:
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules
.DEFAULT_GOAL := all

VERSION := 0.1.0
PREFIX ?= /usr/local
CROSS ?=
CC := $(if $(filter default undefined,$(origin CC)),$(CROSS:=-)gcc,$(CC))
CFLAGS ?= -O2 -g
Q := $(if $(V),,@)
comma := ,
SAN ?=
B := build$(CROSS:%=-%)$(if $(SAN),-$(subst $(comma),-,$(SAN)))
BIN := $(if $(CROSS)$(SAN),$(B)/bin,bin)
PKGS := openblas libzstd libcjson libxxhash libpcre2-8 libutf8proc

WARN := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wdouble-promotion -Wstrict-prototypes \
	-Wmissing-prototypes -Wvla -Wundef -Wwrite-strings -Wno-missing-field-initializers \
	$(if $(WERROR),-Werror)
PKG_CONFIG := $(if $(CROSS),PKG_CONFIG_LIBDIR=/usr/lib/$(CROSS)/pkgconfig )pkg-config
PKG_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(PKGS) 2>/dev/null)
PKG_LIBS := $(shell $(PKG_CONFIG) --libs $(PKGS) 2>/dev/null)
ARCH := $(shell $(CC) -dumpmachine)
OUR := -std=c11 -D_POSIX_C_SOURCE=200809L -D_FILE_OFFSET_BITS=64 -DWOQ_VERSION='"$(VERSION)"' \
	-ffp-contract=off -pthread -Ilib -I. -MMD -MP $(WARN) \
	$(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
LD_OUR := -pthread -Wl,--as-needed $(if $(SAN),-fsanitize=$(SAN))

KERNEL_SRC := $(wildcard lib/kernels/*_ref.c) $(wildcard lib/kernels/table.c) \
	$(if $(filter x86_64%,$(ARCH)),$(wildcard lib/kernels/*_avx2.c lib/kernels/*_avx512.c)) \
	$(if $(filter aarch64%,$(ARCH)),$(wildcard lib/kernels/*_neon.c))
LIB_SRC := $(wildcard lib/*.c lib/template/*.c) $(KERNEL_SRC) $(wildcard formats/*.c)
LIB_OBJ := $(LIB_SRC:%.c=$(B)/%.o)
PROGS := $(patsubst filters/%.c,%,$(wildcard filters/woq*.c))
SCRIPTS := $(patsubst filters/%.sh,%,$(wildcard filters/woq*.sh))
UNIT := $(patsubst tests/unit/%.c,$(B)/unit/%,$(wildcard tests/unit/*.c))
FUZZ := $(patsubst tests/fuzz/%.c,$(B)/fuzz/%,\
	$(filter-out tests/fuzz/driver.c,$(wildcard tests/fuzz/*.c)))
BENCH := $(patsubst tests/bench/%.c,$(B)/bench/%,$(wildcard tests/bench/*.c))
OBJ := $(LIB_OBJ) $(PROGS:%=$(B)/filters/%.o) $(UNIT:=.o) $(BENCH:=.o) $(FUZZ:=.o) \
	$(B)/fuzz/driver.o $(B)/filters/tasks.o $(B)/filters/report.o $(B)/filters/info.o

$(B)/lib/kernels/%_avx2.o: ISA := -mavx2 -mfma -mf16c
$(B)/lib/kernels/%_avx512.o: ISA := -mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma -mf16c

.PHONY: all
all: $(PROGS:%=$(BIN)/%) $(SCRIPTS:%=$(BIN)/%)  ## build every program into bin/

$(B)/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(if $(V),,@echo "  cc  $<")
	$(Q)$(CC) $(OUR) $(PKG_CFLAGS) $(ISA) $(CPPFLAGS) $(CFLAGS) -c $< -o $@
$(B)/unit/%.o: tests/unit/%.c Makefile
	@mkdir -p $(@D)
	$(Q)$(CC) $(OUR) $(PKG_CFLAGS) $(CPPFLAGS) $(CFLAGS) -c $< -o $@
$(B)/bench/%.o: tests/bench/%.c Makefile
	@mkdir -p $(@D)
	$(Q)$(CC) $(OUR) $(PKG_CFLAGS) $(CPPFLAGS) $(CFLAGS) -c $< -o $@
$(B)/fuzz/%.o: tests/fuzz/%.c Makefile
	@mkdir -p $(@D)
	$(Q)$(CC) $(OUR) $(PKG_CFLAGS) $(CPPFLAGS) $(CFLAGS) -c $< -o $@
$(B)/libwoq.a: $(LIB_OBJ)
	@rm -f $@
	$(Q)ar rcs $@ $^
$(BIN)/%: $(B)/filters/%.o $(B)/libwoq.a
	@mkdir -p $(@D)
	$(if $(V),,@echo "  ld  $@")
	$(Q)$(CC) $(LD_OUR) $(LDFLAGS) $(filter %.o,$^) $(B)/libwoq.a $(PKG_LIBS) -lm -o $@
$(BIN)/woq: $(B)/filters/tasks.o $(B)/filters/report.o $(B)/filters/info.o
$(BIN)/%: filters/%.sh
	@mkdir -p $(@D)
	$(Q)install -m 755 $< $@
$(B)/unit/%: $(B)/unit/%.o $(B)/libwoq.a
	$(Q)$(CC) $(LD_OUR) $(LDFLAGS) $< $(B)/libwoq.a $(PKG_LIBS) -lcmocka -lm -o $@
$(B)/bench/%: $(B)/bench/%.o $(B)/libwoq.a
	$(Q)$(CC) $(LD_OUR) $(LDFLAGS) $< $(B)/libwoq.a $(PKG_LIBS) -lm -o $@
# With FUZZER set libFuzzer brings main, else tests/fuzz/driver.c runs the target on its corpus.
$(B)/fuzz/%: $(B)/fuzz/%.o $(if $(FUZZER),,$(B)/fuzz/driver.o) $(B)/libwoq.a
	$(Q)$(CC) $(LD_OUR) $(if $(FUZZER),-fsanitize=fuzzer) $(LDFLAGS) $^ $(PKG_LIBS) -lm -o $@
.SECONDARY:
-include $(OBJ:.o=.d)

# ---------------------------------------------------------------- checks
.PHONY: check compat check-slow check-arm64 check-emulated bench interop lint layers fuzz model demo
BATS := $(wildcard tests/filters/*.bats tests/pipelines/*.bats)
PROVE = PATH="$(abspath $(BIN)):$$PATH" WOQ_BUILD="$(abspath $(B))" WOQ_ROOT="$(CURDIR)" \
	CMOCKA_MESSAGE_OUTPUT=TAP prove -e tests/run
check: all $(UNIT) $(FUZZ)  ## run the tests: make check [SAN=address,undefined] [T='tests/filters/x.bats']
	$(Q)rm -rf $(B)/tap
	$(Q)$(PROVE) -j2 $(or $(T),$(UNIT) $(FUZZ) $(BATS)) || { tests/failures $(B); exit 1; }
compat: check  ## write man/woq-compat.7 from what the tests were seen to do
	$(Q)tests/compat $(B) man/woq-compat.7
check-slow: all model  ## the tests on the real model, over ssh too (a few minutes)
	$(Q)rm -rf $(B)/tap
	$(Q)$(PROVE) $(or $(T),$(wildcard tests/slow/*.bats)) || { tests/failures $(B); exit 1; }

# Units that start programs of bin/ would need a kernel that runs foreign ones.
EMULATED := $(filter-out pipeline,$(patsubst tests/unit/%.c,%,$(wildcard tests/unit/*.c)))
check-arm64:  ## the unit tests as aarch64 programs under qemu: the NEON kernels, the same golden values
	$(Q)$(MAKE) --no-print-directory CROSS=aarch64-linux-gnu check-emulated EMULATOR=qemu-aarch64
check-emulated: $(EMULATED:%=$(B)/unit/%)
	$(Q)rm -rf $(B)/tap
	$(Q)WOQ_EMULATOR=$(EMULATOR) $(PROVE) -j2 $^ || { tests/failures $(B); exit 1; }

bench: all $(BENCH)  ## measure: every figure beside what it is to be compared with, in one table
	$(Q)PATH="$(abspath $(BIN)):$$PATH" WOQ_BUILD="$(abspath $(B))" tests/bench/run $(BENCH) \
		$(wildcard tests/bench/*.sh)
interop: all  ## what woq-pack writes in the loaders it is for (PyPI packages into build/interop, 13 GB)
	$(Q)PATH="$(abspath $(BIN)):$$PATH" tests/interop/run $(B)
lint: all man layers  ## formatting, static analysis, shell scripts, man pages, recipes
	$(Q)tests/lint/lint $(B)
layers:  ## includes point filters -> formats -> lib -> lib/kernels; a package has one owner
	$(Q)tests/lint/layers
FUZZ_SECONDS ?= 600
fuzz:  ## libFuzzer, FUZZ_SECONDS=600 for each target (clang)
	$(Q)$(MAKE) --no-print-directory FUZZER=1 CC=clang WERROR= \
		SAN=fuzzer-no-link,address,undefined \
		fuzz-run FUZZ_SECONDS=$(FUZZ_SECONDS)
.PHONY: fuzz-run
fuzz-run: $(FUZZ)
	$(Q)tests/fuzz/run $(FUZZ_SECONDS) $(FUZZ)

# ---------------------------------------------------------------- the main job
model:  ## fetch the demo's model once (98 MB) and print its path
	$(Q)pipelines/get-model.sh
demo: all  ## quantize a real model to 8, 4 and 3 bits and print what that cost
	$(Q)PATH="$(abspath $(BIN)):$$PATH" pipelines/demo.sh

# ---------------------------------------------------------------- pages, installation
.PHONY: man completion install uninstall dist
PAGES := $(patsubst man/%.in,$(B)/man/%,$(wildcard man/*.in)) \
	$(patsubst man/%,$(B)/man/%,$(wildcard man/*.5 man/*.7))
man: $(PAGES)  ## manual pages into build/man: try `man build/man/woq.7`
# @OPTIONS@ is a program's own --help=mdoc, so that page and program cannot disagree.
$(B)/man/%.1: man/%.1.in $(BIN)/% Makefile
	@mkdir -p $(@D)
	$(Q)$(BIN)/$* --help=mdoc >$@.opts
	$(Q)sed -e '/^@OPTIONS@$$/{r $@.opts' -e 'd}' -e 's/@VERSION@/$(VERSION)/' $< >$@
	@rm -f $@.opts
$(B)/man/%: man/% Makefile
	@mkdir -p $(@D)
	$(Q)sed 's/@VERSION@/$(VERSION)/' $< >$@

COMPLETIONS := $(patsubst %,$(B)/completion/%,bash/woq zsh/_woq fish/woq.fish)
completion: $(COMPLETIONS)  ## completion for bash, zsh and fish, from the programs' option tables
$(COMPLETIONS): man/completion.sh $(PROGS:%=$(BIN)/%)
	@mkdir -p $(@D)
	$(Q)man/completion.sh $(notdir $(@D)) $(PROGS:%=$(BIN)/%) >$@

DIR = $(DESTDIR)$(PREFIX)
SHARE = $(DIR)/share
install: all man completion $(B)/libwoq.a  ## programs, pages, completion, libwoq.a: [PREFIX=/usr/local] [DESTDIR=]
	$(Q)install -d $(DIR)/bin $(DIR)/include/woq $(DIR)/lib/pkgconfig \
		$(SHARE)/man/man1 $(SHARE)/man/man5 $(SHARE)/man/man7 $(SHARE)/bash-completion/completions \
		$(SHARE)/zsh/site-functions $(SHARE)/fish/vendor_completions.d
	$(Q)install -m 755 $(PROGS:%=$(BIN)/%) $(SCRIPTS:%=$(BIN)/%) $(DIR)/bin
	$(Q)for n in 1 5 7; do for p in $(B)/man/*.$$n; do \
		if [ -e "$$p" ]; then install -m 644 "$$p" $(SHARE)/man/man$$n || exit 1; fi; done; done
	$(Q)install -m 644 $(wildcard lib/woq/*.h) $(DIR)/include/woq
	$(Q)install -m 644 $(B)/libwoq.a $(DIR)/lib
	$(Q)sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(VERSION)|' -e 's|@PKGS@|$(PKGS)|' woq.pc.in \
		>$(DIR)/lib/pkgconfig/woq.pc
	$(Q)install -m 644 $(B)/completion/bash/woq $(SHARE)/bash-completion/completions/woq
	$(Q)install -m 644 $(B)/completion/zsh/_woq $(SHARE)/zsh/site-functions/_woq
	$(Q)install -m 644 $(B)/completion/fish/woq.fish $(SHARE)/fish/vendor_completions.d/woq.fish
	$(Q)for p in $(filter-out woq,$(PROGS)); do \
		ln -sf woq $(SHARE)/bash-completion/completions/$$p && \
		ln -sf woq.fish $(SHARE)/fish/vendor_completions.d/$$p.fish || exit 1; done
uninstall:  ## remove what install put under PREFIX
	$(Q)cd $(DIR) && rm -f $(PROGS:%=bin/%) $(SCRIPTS:%=bin/%) lib/libwoq.a lib/pkgconfig/woq.pc \
		share/man/man1/woq*.1 share/man/man5/woq-*.5 share/man/man7/woq*.7 \
		$(PROGS:%=share/bash-completion/completions/%) share/zsh/site-functions/_woq \
		$(PROGS:%=share/fish/vendor_completions.d/%.fish)
	$(Q)rm -rf $(DIR)/include/woq
dist:  ## build/woq-VERSION.tar.gz of what is committed
	@mkdir -p $(B)
	$(Q)git archive --prefix=woq-$(VERSION)/ -o $(B)/woq-$(VERSION).tar.gz HEAD
	@echo $(B)/woq-$(VERSION).tar.gz

# ---------------------------------------------------------------- others
.PHONY: clean help
clean:  ## remove everything that was built
	$(Q)rm -rf build build-* bin
help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14
