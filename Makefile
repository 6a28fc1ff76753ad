# SPDX-License-Identifier: Apache-2.0
# A thin cover over Meson and ninja; `make help` lists what there is.

BUILD ?= build
prefix ?= /usr/local
IMAGE := python:slim-debian
MESON_FLAGS ?=
# Recipes that several programs of ninja would fight over stay with ninja; make itself runs in order.
MAKEFLAGS += --no-print-directory

.PHONY: all help setup run image python wheel test bench soak fuzz lint install clean
.DEFAULT_GOAL := all

all: $(BUILD)/build.ninja  ## build everything: build/boxlite, its companions, the guest's kernel and initramfs
	@ninja -C $(BUILD)

help:  ## list the targets
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/p' Makefile | expand -t 22
	@echo "  BUILD=DIR builds there instead of in build/; MESON_FLAGS=... is for the first configuration."

setup:  ## install the Debian packages that are missing (with sudo when not root)
	@tools/setup

run: setup  ## all that is needed from nothing, then Python in a box
	@$(MAKE) -s all
	@tools/first-box $(BUILD) $(IMAGE)

image: $(BUILD)/image/index.json  ## make the default image, a small Debian with Python, as an OCI layout in build/image

test: all  ## unit, wire, jail and VM suites, the rules of the house, the fuzzers' corpora
	@MESON_TESTTHREADS=$${MESON_TESTTHREADS:-$$(($$(nproc) + 2))} meson test -C $(BUILD) --print-errorlogs # some wait for time-outs

bench: all $(BUILD)/image/index.json  ## measure, beside other ways to run a command; table and build/bench.json
	@ninja -C $(BUILD) --quiet bxbench tests/images/walk
	@python3 bench/bench.py --build $(BUILD) --image $(BUILD)/image
	@LD_LIBRARY_PATH=$(abspath $(BUILD)) /usr/bin/python3 bench/life.py --build $(BUILD)

soak: all  ## for long: processes killed at 500 random moments, of boxes and of images, and an image of 5 GB (30 GB of disk)
	@BOXLITE_TEST_KILL_ROUNDS=500 BOXLITE_TEST_IMAGE_GB=5 meson test -C $(BUILD) -t 5 --print-errorlogs soak images-kills images-large

FUZZ_SECONDS ?= 60
fuzz:  ## run each fuzzer with libFuzzer, FUZZ_SECONDS each (60)
	@tools/fuzz $(BUILD)/fuzz $(FUZZ_SECONDS)

python: all  ## the Python package, for PYTHONPATH: build/python

wheel: all  ## the package as one file for `pip install`, with everything but QEMU: build/wheel/
	@ninja -C $(BUILD) --quiet wheel
	@ls -l $(BUILD)/wheel/*.whl

lint:  ## clang-tidy, cppcheck, codespell
	@tools/lint $(BUILD)/lint

install: all  ## install under prefix (/usr/local), below DESTDIR
	@meson configure $(BUILD) -Dprefix=$(abspath $(prefix))
	@ninja -C $(BUILD) --quiet >/dev/null
	@DESTDIR=$(DESTDIR) meson install -C $(BUILD) --quiet

clean:  ## remove the build directory
	rm -rf $(BUILD)

$(BUILD)/build.ninja:
	@command -v meson >/dev/null || { echo "meson is missing: run \`make setup\`" >&2; exit 1; }
	@mkdir -p $(BUILD)
	@meson setup $(BUILD) $(MESON_FLAGS) >$(BUILD)/setup.log 2>&1 || { cat $(BUILD)/setup.log; exit 1; }

$(BUILD)/image/index.json: boot/boxlite-bootstrap | all
	@echo "image: making $(IMAGE) from the Debian packages of this host's sources"
	@rm -rf $(BUILD)/image $(BUILD)/image.home
	@$(BUILD)/boxlite --home $(abspath $(BUILD))/image.home bootstrap debian -q --name $(IMAGE) >/dev/null
	@$(BUILD)/boxlite --home $(abspath $(BUILD))/image.home save -o $(BUILD)/image/ $(IMAGE)
	@rm -rf $(BUILD)/image.home
