# hosts.mk -- GPTQ with the open loop, its blocks spread over hosts by GNU parallel.
#
#   make -f pipelines/hosts.mk M=model.gguf OUT=model-4bit TEXT=book.txt HOSTS=host1,host2
#   make -f pipelines/hosts.mk ... HOSTS=:,2/host1 PARALLEL_SSH='ssh -F config'
#
# The calibration runs here, on float inputs, and is cut into a part for each block: a stream with the block's weights and
# Hessians. Parts do not depend on each other. GNU parallel brings each to a host (HOSTS as its --sshlogin takes it, ':' is
# this one), where QUANT makes its result of it, and brings that back; a part whose host fails is tried on another. The
# results are joined in order. The bytes are those of
#
#   woq-extract M | woq-calib --text TEXT --inputs float --emit hess | QUANT | woq-pack PACK --out OUT
#
# A run that was stopped, or lost its hosts, goes on with the parts that have no result yet. A host needs rsync, and woq
# of this version in the PATH that `ssh HOST woq` sees.

M ?= $(error M=CHECKPOINT is missing)
OUT ?= $(error OUT=FOLDER is missing)
TEXT ?= $(error TEXT=FILE to calibrate on is missing)
SAMPLES ?= 128
SEQLEN ?= 512
QUANT ?= woq-gptq --bits 4 --group-size 64 --asym --act-order --static-groups
PACK ?= --format gptq
HOSTS ?= :
# Parts to make; 0 = one for each block.
PARTS ?= 0
# Parts that a host works on at once, times that a part is tried on different hosts.
JOBS ?= 1
TRIES ?= 3
WORK ?= $(OUT).hosts

# The files between go at once: a run that is killed here leaves all of them or none.
CLEAR = rm -rf $(WORK).old; if [ -e $(WORK) ]; then mv $(WORK) $(WORK).old; rm -rf $(WORK).old; fi

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.SECONDARY:
CALIB := woq-calib --text $(TEXT) --samples $(SAMPLES) --seqlen $(SEQLEN) --inputs float --emit hess
export OPTIONS := $(M): $(CALIB) | $(QUANT), PARTS=$(PARTS)
export QUANT
ifneq ($(wildcard $(WORK)/options),)
ifneq ($(file <$(WORK)/options),$(OPTIONS))
$(error '$(WORK)' is of another run: '$(file <$(WORK)/options)', want '$(OPTIONS)': remove it, or use the same options)
endif
endif

.PHONY: all hosts
all: $(OUT)
	@$(CLEAR)
$(OUT): $(WORK)/quantized
	woq-join $$(seq -f '$(WORK)/%.0f.q' "$$(cat $<)") | woq-pack $(PACK) --out $@
# Parallel gets the number of each part that has no result yet; a result appears under its name when it is whole.
$(WORK)/quantized: $(WORK)/parts | hosts
	cd $(WORK)
	left() { for k in $$(seq "$$(cat parts)"); do [ -s "$$k.q" ] || echo "$$k"; done; }
	left | parallel --sshlogin '$(HOSTS)' --jobs $(JOBS) --retries $(TRIES) --halt soon,fail=1 --joblog joblog \
	    --workdir ... --transferfile {}.wts --return {}.q --cleanup \
	    "[ \$$PARALLEL_SSHLOGIN != : ] || cd '$(abspath $(WORK))'; { $$QUANT; } <{}.wts >{}.tmp && mv {}.tmp {}.q"
	[ -z "$$(left)" ]
	cp parts quantized
$(WORK)/parts: $(M) $(TEXT) | hosts
	$(CLEAR)
	mkdir -p $(WORK)
	printf '%s\n' "$$OPTIONS" >$(WORK)/options
	woq-extract $(M) | $(CALIB) | woq-part --of $(PARTS) --into $(WORK)
	ls $(WORK)/*.wts | wc -l >$@.tmp
	mv $@.tmp $@
# Before anything is done: a host that can't do its share is named.
hosts:
	@want=$$(woq --version)
	parallel --nonall --tag --sshlogin '$(HOSTS)' 'woq --version' 2>&1 </dev/null |
	    awk -F '\t' -v want="$$want" '$$2 != want { print "hosts.mk: host " $$1 ": " $$2 ", want " want; bad = 1 }
	        END { exit bad }' >&2
