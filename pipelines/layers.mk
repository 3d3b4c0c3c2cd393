# layers.mk -- calibrated quantization unrolled through files: one target per block, so that a run that was stopped, however,
# goes on with the block that is due, and a block's quantizer runs on another host if wanted.
#
#   make -f pipelines/layers.mk M=model.gguf OUT=model-4bit TEXT=book.txt
#   make -f pipelines/layers.mk M=model.gguf OUT=model-4bit TEXT=book.txt UNIT=block RUN_2='ssh host'
#   make -f pipelines/layers.mk -j2 M=model.gguf OUT=model-4bit TEXT=book.txt INPUTS=float
#
#   UNIT=group     acts.k-1 ────────────────> q.k, acts.k      the closed loop, group by group within the block
#   UNIT=block     acts.k-1 ──> hess.k ──> q.k ──> acts.k      a block sees the errors of those before it, not its own
#   INPUTS=float   acts.k-1 ──> hess.k, acts.k; hess.k ──> q.k the open loop: with -j, q.k beside the blocks that follow
#
# acts.k holds the activations after part k (a block; with PARTS=N, N parts of a few), acts.0 those after the embedding. The
# bytes are those of
#
#   woq-extract M | woq-calib --text TEXT --emit hess --unit UNIT --inputs INPUTS --through QUANT | woq-pack PACK --out OUT

M ?= $(error M=CHECKPOINT is missing)
OUT ?= $(error OUT=FOLDER is missing)
TEXT ?= $(error TEXT=FILE to calibrate on is missing)
SAMPLES ?= 128
SEQLEN ?= 512
# More options for each woq-calib, such as --acts-dtype bf16.
CALIB ?=
QUANT ?= woq-gptq --bits 4 --group-size 64 --asym --act-order --static-groups
PACK ?= --format gptq
UNIT ?= group
INPUTS ?= quantized
PARTS ?= $(shell woq-extract --list --json $(M) | grep -o '"block":[0-9]*' | sort -u | wc -l)
WORK ?= $(OUT).layers
# What is not needed any more is removed, unless KEEP=yes.
KEEP ?=

# The files between go at once: a run that is killed here leaves all of them or none.
CLEAR = rm -rf $(WORK).old; if [ -e $(WORK) ]; then mv $(WORK) $(WORK).old; rm -rf $(WORK).old; fi

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.SECONDARY:
NUMBERS := $(shell seq $(PARTS))
SOURCE := --text $(TEXT) --samples $(SAMPLES) --seqlen $(SEQLEN)
DROP := $(if $(filter yes,$(KEEP)),: keeps,rm -f)
export OPTIONS := $(M), $(PARTS) parts: woq-calib $(SOURCE) $(CALIB) | $(QUANT), unit $(UNIT), inputs $(INPUTS)
export QUANT
ifneq ($(wildcard $(WORK)/options),)
ifneq ($(file <$(WORK)/options),$(OPTIONS))
$(error '$(WORK)' is of another run: '$(file <$(WORK)/options)', want '$(OPTIONS)': remove it, or use the same options)
endif
endif

.PHONY: all
all: $(OUT)
	@$(CLEAR)
$(OUT): $(NUMBERS:%=$(WORK)/q.%)
	woq-join $^ | woq-pack $(PACK) --out $@
$(WORK)/parts: $(M) $(TEXT)
	$(CLEAR)
	mkdir -p $(WORK)
	printf '%s\n' "$$OPTIONS" >$(WORK)/options
	woq-extract $(M) | woq-part --of $(PARTS) --into $(WORK)
	touch $@
$(WORK)/acts.0: $(WORK)/parts
	woq-head --blocks 0 $(WORK)/1.wts | woq-calib $(SOURCE) $(CALIB) --emit none --acts-to $@ >/dev/null

# A rule may make acts.k beside its target; acts.k is there when the target is.
BESIDE = @[ -e $@ ] || { echo "layers.mk: '$@' is gone: begin anew, after rm -r $(WORK)" >&2; exit 1; }
# The rules of part $1, which follows part $2. RUN_k, empty or 'ssh HOST', is where its quantizer runs.
define group
$(WORK)/q.$1: $(WORK)/acts.$2
	woq-calib --acts-from $(WORK)/acts.$2 --acts-to $(WORK)/acts.$1 $(CALIB) --emit hess --through "$(RUN_$1) $$$$QUANT" \
	    $(WORK)/$1.wts >$$@.tmp
	mv $$@.tmp $$@
	$(DROP) $(WORK)/acts.$2
$(WORK)/acts.$1: $(WORK)/q.$1
	$$(BESIDE)
endef
define block
$(WORK)/hess.$1: $(WORK)/acts.$2
	woq-calib --acts-from $(WORK)/acts.$2 $(CALIB) --emit hess $(WORK)/$1.wts >$$@.tmp
	mv $$@.tmp $$@
$(WORK)/q.$1: $(WORK)/hess.$1
	$(RUN_$1) $(QUANT) <$(WORK)/hess.$1 >$$@.tmp
	mv $$@.tmp $$@
	$(DROP) $(WORK)/hess.$1
$(WORK)/acts.$1: $(WORK)/q.$1 $(WORK)/acts.$2
	woq-calib --acts-from $(WORK)/acts.$2 --acts-to $$@ $(CALIB) --emit none $(WORK)/q.$1 >/dev/null
	$(DROP) $(WORK)/acts.$2
endef
define float
$(WORK)/hess.$1: $(WORK)/acts.$2
	woq-calib --acts-from $(WORK)/acts.$2 --acts-to $(WORK)/acts.$1 $(CALIB) --inputs float --emit hess $(WORK)/$1.wts >$$@.tmp
	mv $$@.tmp $$@
	$(DROP) $(WORK)/acts.$2
$(WORK)/q.$1: $(WORK)/hess.$1
	$(RUN_$1) $(QUANT) <$(WORK)/hess.$1 >$$@.tmp
	mv $$@.tmp $$@
	$(DROP) $(WORK)/hess.$1
$(WORK)/acts.$1: $(WORK)/hess.$1
	$$(BESIDE)
endef
ifneq ($(filter quantized float,$(INPUTS)) $(filter group block,$(UNIT)),$(INPUTS) $(UNIT))
$(error UNIT=$(UNIT) INPUTS=$(INPUTS): want group or block, quantized or float)
endif
RULES := $(if $(filter float,$(INPUTS)),float,$(UNIT))
$(foreach k,$(NUMBERS),$(eval $(call $(RULES),$k,$(shell expr $k - 1))))
