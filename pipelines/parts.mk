# parts.mk -- quantizes a checkpoint in parts: every part is a file and a target, so that they run side by side, on other
# hosts if wanted, and a run that was stopped goes on with the parts that are missing.
#
#   make -f pipelines/parts.mk -j2 M=model.gguf OUT=model-4bit PARTS=4
#   make -f pipelines/parts.mk -j2 M=model.gguf OUT=model-4bit PARTS=2 RUN_2='ssh host'
#
# The result is that of the plain pipeline, byte for byte: rounding looks at one tensor at a time.

M ?= $(error M=CHECKPOINT is missing)
OUT ?= $(error OUT=FOLDER is missing)
PARTS ?= 2
QUANT ?= woq-rtn --bits 4 --group-size 64 --asym
PACK ?= --format gptq
WORK ?= $(OUT).parts

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.SECONDARY:
NUMBERS := $(shell seq $(PARTS))

.PHONY: all
all: $(OUT)
$(OUT): $(NUMBERS:%=$(WORK)/%.wts)
	woq-join $^ | woq-pack $(PACK) --out $@
	rm -r $(WORK)
# RUN_k, empty or 'ssh HOST', is where part k is worked on.
$(WORK)/%.wts: $(M)
	@mkdir -p $(WORK)
	woq-extract $(M) | woq-part --of $(PARTS) --take $* | $(RUN_$*) $(QUANT) >$@.tmp
	mv $@.tmp $@
