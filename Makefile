# Ingot: every command a person types. `make help` lists them.
#
# One flat file. Sources are found by folder, so a new .c file needs no edit here; headers are tracked through -MMD. Three builds
# share the sources:
#   image    ring 0, newlib: build/obj/*.o -> build/ingot.elf -> build/BOOTX64.EFI -> build/ingot.img
#   hosted   a Linux process, optimised: build/hosted/ingot
#   test     a Linux process under sanitizers: build/test/*

.DEFAULT_GOAL := image
.DELETE_ON_ERROR:
.SUFFIXES:
.SECONDARY:
MAKEFLAGS += --no-builtin-rules
SHELL := /bin/bash

BUILD   := build
DEPS    := $(BUILD)/deps
VERSION := $(shell git describe --always --dirty --tags 2>/dev/null || echo unknown)
Q       := $(if $(V),,@)
say      = $(if $(V),,@echo "  $(1)$(2:$(BUILD)/%=%)")

# ---- settings ------------------------------------------------------------------------------------------------------

CC      := gcc
CLANG   := clang-19
# The distribution's Python: pytest and numpy are its packages.
PYTHON  ?= $(if $(wildcard /usr/bin/python3),/usr/bin/python3,python3)
# make image CONF=file
CONF    ?= images/ingot.conf
# make image GPU=ga102,ad102: with what these NVIDIA GPUs need
GPU     ?=
# make run GPU=model CHIP=ad102: with a GPU that tests/model plays
CHIP    ?= ga102
ifeq ($(GPU),model)
override GPU := $(CHIP)
MODEL   := $(CHIP)
endif
# make run SMP=4 MEM=4096 NIC=e1000e
SMP     ?= 2
MEM     ?= 1024
NIC     ?= virtio
# of each fuzzer, for `make fuzz`
FUZZ_SECONDS ?= 600

SRC_DIR := $(DEPS)/src
NEWLIB  := $(DEPS)/newlib
LWIP    := $(SRC_DIR)/lwip/src
LLHTTP  := $(SRC_DIR)/llhttp
YYJSON  := $(SRC_DIR)/yyjson/src

WARNINGS := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wno-unused-parameter
COMMON   := -std=gnu11 -g $(WARNINGS) -I. -isystem $(YYJSON) -isystem $(LLHTTP)/include

# The image runs in ring 0 without a dynamic linker:
#   -fpie                     it relocates itself to a random place
#   -mno-red-zone             interrupts use the running task's stack
#   -fno-omit-frame-pointer   the panic screen walks frames
#   -ftls-model=local-exec    FS points at this core's block: errno, newlib's state, the stack guard at %fs:0x28
#   -U__linux__ ...           the host's compiler believes it builds for Linux
#   -DEUCLEAN=117             Linux's number for damaged data; newlib has none
TARGET_FLAGS := -fpie -mno-red-zone -fno-omit-frame-pointer -mno-omit-leaf-frame-pointer -ftls-model=local-exec -fcf-protection=none \
                -fstack-protector-strong -ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables \
                -U__linux__ -U__linux -Ulinux -U__unix__ -U__unix -Uunix -U__gnu_linux__
IMAGE_FLAGS  := -O2 $(COMMON) $(TARGET_FLAGS) -nostdinc -isystem $(shell $(CC) -print-file-name=include) \
                -isystem $(NEWLIB)/x86_64-elf/include -isystem /usr/include/efi -isystem /usr/include/efi/x86_64 \
                -isystem $(LWIP)/include -Iruntime/net/lwip -DGNU_EFI_USE_MS_ABI -DEUCLEAN=117
HOSTED_FLAGS := -O2 $(COMMON) -D_GNU_SOURCE -DINGOT_HOSTED -pthread -fno-omit-frame-pointer
TEST_FLAGS   := -O1 $(COMMON) -D_GNU_SOURCE -DINGOT_HOSTED -DINGOT_TEST -pthread -fno-omit-frame-pointer \
                -fsanitize=address,undefined -fno-sanitize-recover=all
FUZZ_FLAGS   := -O1 $(COMMON) -D_GNU_SOURCE -DINGOT_HOSTED -DINGOT_TEST -pthread -fno-omit-frame-pointer \
                -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
LIBRARY_FLAGS := -w  # other people's sources: their warnings are theirs

# Instruction sets that the CPU device's kernels are built for; the best one is chosen at start.
KERNEL_ISAS := sse2 avx2 avx512
KERNEL_FLAGS_sse2   := -msse2
KERNEL_FLAGS_avx2   := -mavx2 -mfma -mf16c
KERNEL_FLAGS_avx512 := -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx2 -mfma -mf16c -mprefer-vector-width=512
KERNEL_FLAGS := -O3 -fno-math-errno -fno-trapping-math -ffp-contract=fast

# ---- sources -------------------------------------------------------------------------------------------------------

# What both the image and the Linux process are made of.
SHARED_SRC := $(wildcard nvme/*.c gpu/*.c gpu/cpu/*.c gpu/nvidia/*.c gpu/nvidia/gsp/*.c runtime/volume/*.c runtime/weights/*.c \
                runtime/config/*.c runtime/hash/*.c runtime/job/*.c apps/*/*.c)
KERNEL_SRC := $(wildcard gpu/kernels/*.c)
HTTP_SRC   := $(wildcard runtime/http/*.c)
# The scheduler and what reads PCI facts are the same everywhere; tests/host/ stands in for the rest, whose unit tests include the source.
PORTABLE_SRC := $(wildcard kernel/task.c kernel/switch.S kernel/pci_facts.c)

IMAGE_SRC  := $(wildcard boot/*.c boot/*.S kernel/*.c kernel/*.S runtime/*.c runtime/net/*.c runtime/libc/*.c runtime/libc/*.S) \
              $(HTTP_SRC) $(SHARED_SRC)
# A Linux process leaves power and the network to Linux.
HOST_SRC   := $(filter-out tests/host/main.c,$(wildcard tests/host/*.c gpu/nvidia/hosted/*.c)) $(PORTABLE_SRC) runtime/version.c \
              $(filter-out apps/power/%,$(SHARED_SRC)) $(filter-out %_tcp.c,$(HTTP_SRC))

IMAGE_LIBRARY_SRC := $(wildcard $(LWIP)/core/*.c $(LWIP)/core/ipv4/*.c $(LWIP)/netif/ethernet.c $(LWIP)/apps/mdns/*.c \
                       $(LWIP)/apps/sntp/*.c)
SHARED_LIBRARY_SRC := $(YYJSON)/yyjson.c $(addprefix $(LLHTTP)/src/,api.c http.c llhttp.c)
# Files that are served as they are.
EMBEDDED := runtime/http/page.html docs/openapi.json

objects = $(patsubst %,$(1)/%.o,$(patsubst $(DEPS)/src/%,lib/%,$(2)))
kernel_objects = $(foreach isa,$(KERNEL_ISAS),$(patsubst %.c,$(1)/%.$(isa).o,$(KERNEL_SRC)))
embedded_objects = $(patsubst %,$(1)/embedded/%.o,$(notdir $(wildcard $(EMBEDDED))))

# The same kernels for NVIDIA devices, in the hosted builds. Without ptxas the table is empty, and it is in the image, which finds
# them on the ESP instead (make image GPU=...): 0.4 MB that few machines would use.
PTXAS     ?= $(firstword $(wildcard /usr/local/cuda/bin/ptxas /usr/local/cuda-*/bin/ptxas /usr/bin/ptxas $(DEPS)/cuda/bin/ptxas))
CUBIN_OBJ := $(BUILD)/kernels/cubins.o
NO_CUBIN_OBJ := $(BUILD)/kernels/none.o

IMAGE_OBJ := $(call objects,$(BUILD)/obj,$(IMAGE_SRC) $(IMAGE_LIBRARY_SRC) $(SHARED_LIBRARY_SRC)) \
             $(call kernel_objects,$(BUILD)/obj) $(call embedded_objects,$(BUILD)/obj) $(NO_CUBIN_OBJ)
HOSTED_OBJ := $(call objects,$(BUILD)/hosted/obj,$(HOST_SRC) tests/host/main.c $(SHARED_LIBRARY_SRC)) \
              $(call kernel_objects,$(BUILD)/hosted/obj) $(call embedded_objects,$(BUILD)/hosted/obj) $(CUBIN_OBJ)
TEST_OBJ  := $(call objects,$(BUILD)/test/obj,$(HOST_SRC) $(SHARED_LIBRARY_SRC)) $(call kernel_objects,$(BUILD)/test/obj) \
             $(call embedded_objects,$(BUILD)/test/obj) $(CUBIN_OBJ)
FUZZ_OBJ  := $(call objects,$(BUILD)/fuzz/obj,$(HOST_SRC) $(SHARED_LIBRARY_SRC)) $(call kernel_objects,$(BUILD)/fuzz/obj) \
             $(call embedded_objects,$(BUILD)/fuzz/obj) $(CUBIN_OBJ)

# ---- set-up: packages and sources ----------------------------------------------------------------------------------

# Stamps carry a digest of what they stand for, so a changed pin or flag builds anew and a touched file does not.
NEWLIB_TARGET_FLAGS := -O2 -g -w $(filter-out -fstack-protector-strong,$(TARGET_FLAGS))
NEWLIB_CONFIGURE := --target=x86_64-elf --disable-multilib --disable-libgloss --disable-newlib-supplied-syscalls \
    --enable-newlib-reent-thread-local --enable-newlib-io-c99-formats --enable-newlib-io-long-long --disable-newlib-wide-orient \
    --disable-newlib-unbuf-stream-opt --disable-newlib-fseek-optimization --disable-newlib-atexit-dynamic-alloc --disable-nls
SOURCES_STAMP := $(DEPS)/.sources-$(shell sha256sum setup/pins | cut -c1-12)
NEWLIB_STAMP  := $(DEPS)/.newlib-$(shell echo '$(NEWLIB_CONFIGURE) $(NEWLIB_TARGET_FLAGS)' | cat - <(grep '^newlib' setup/pins) | sha256sum | cut -c1-12)

.PHONY: deps packages-% force
packages-%:
	$(Q)setup/packages $*

$(SOURCES_STAMP): | packages-build
	$(Q)setup/sources $(DEPS)
	$(Q)touch $@

# newlib with the host's own compiler: x86_64-elf differs from it only in the flags above.
$(NEWLIB_STAMP): | $(SOURCES_STAMP)
	$(call say,NEWLIB  about a minute; log in ,$(DEPS)/newlib.log)
	$(Q)rm -rf $(DEPS)/newlib-build $(NEWLIB) && mkdir -p $(DEPS)/newlib-build
	$(Q)root=$$PWD && cd $(DEPS)/newlib-build && ( \
	    MAKEINFO=true $$root/$(SRC_DIR)/newlib/configure $(NEWLIB_CONFIGURE) --prefix=$$root/$(NEWLIB) \
	    CC_FOR_TARGET=gcc AR_FOR_TARGET=ar AS_FOR_TARGET=as LD_FOR_TARGET=ld NM_FOR_TARGET=nm RANLIB_FOR_TARGET=ranlib \
	    STRIP_FOR_TARGET=strip OBJDUMP_FOR_TARGET=objdump READELF_FOR_TARGET=readelf CFLAGS_FOR_TARGET='$(NEWLIB_TARGET_FLAGS)' && \
	    env -u MAKEFLAGS -u MAKELEVEL make -j$$(nproc) MAKEINFO=true all-target-newlib && \
	    env -u MAKEFLAGS -u MAKELEVEL make MAKEINFO=true install-target-newlib ) >../newlib.log 2>&1 || \
	    { echo "newlib does not build; the end of $(DEPS)/newlib.log:" >&2; tail -5 $$root/$(DEPS)/newlib.log >&2; exit 1; }
	$(Q)rm -rf $(DEPS)/newlib-build && touch $@

deps: $(NEWLIB_STAMP)  ## fetch and build what Ingot stands on (newlib, lwIP, llhttp, yyjson)

# The library sources are only known once they are unpacked, so the first build starts make anew after set-up.
ifeq ($(wildcard $(NEWLIB_STAMP)),)
NEEDS_SETUP := 1
endif

# ---- the image -----------------------------------------------------------------------------------------------------

.PHONY: image
ifdef NEEDS_SETUP
image: $(NEWLIB_STAMP)
	$(Q)$(MAKE) --no-print-directory $@
else
image: $(BUILD)/ingot.img  ## build/ingot.img, for a USB stick or QEMU (CONF=file: another ingot.conf; GPU=ga102,ad102: NVIDIA's firmware)
endif

$(BUILD)/obj/%.c.o: %.c
	$(call say,CC      ,$@)
	$(Q)mkdir -p $(@D) && $(CC) $(IMAGE_FLAGS) $(DEFINE) -MMD -MP -c $< -o $@
$(BUILD)/obj/%.S.o: %.S
	$(call say,AS      ,$@)
	$(Q)mkdir -p $(@D) && $(CC) $(IMAGE_FLAGS) -MMD -MP -c $< -o $@
$(BUILD)/obj/lib/%.c.o: $(SRC_DIR)/%.c
	$(call say,CC      ,$@)
	$(Q)mkdir -p $(@D) && $(CC) $(IMAGE_FLAGS) $(LIBRARY_FLAGS) -MMD -MP -c $< -o $@

$(BUILD)/hosted/obj/%.c.o: %.c
	$(call say,CC      ,$@)
	$(Q)mkdir -p $(@D) && $(CC) $(HOSTED_FLAGS) $(DEFINE) -MMD -MP -c $< -o $@
$(BUILD)/hosted/obj/%.S.o: %.S
	$(Q)mkdir -p $(@D) && $(CC) $(HOSTED_FLAGS) -MMD -MP -c $< -o $@
$(BUILD)/hosted/obj/lib/%.c.o: $(SRC_DIR)/%.c
	$(Q)mkdir -p $(@D) && $(CC) $(HOSTED_FLAGS) $(LIBRARY_FLAGS) -MMD -MP -c $< -o $@

$(BUILD)/test/obj/%.c.o: %.c
	$(call say,CC      ,$@)
	$(Q)mkdir -p $(@D) && $(CC) $(TEST_FLAGS) $(DEFINE) -MMD -MP -c $< -o $@
$(BUILD)/test/obj/%.S.o: %.S
	$(Q)mkdir -p $(@D) && $(CC) $(TEST_FLAGS) -MMD -MP -c $< -o $@
$(BUILD)/test/obj/lib/%.c.o: $(SRC_DIR)/%.c
	$(Q)mkdir -p $(@D) && $(CC) $(TEST_FLAGS) $(LIBRARY_FLAGS) -MMD -MP -c $< -o $@

$(BUILD)/fuzz/obj/%.c.o: %.c
	$(call say,CLANG   ,$@)
	$(Q)mkdir -p $(@D) && $(CLANG) $(FUZZ_FLAGS) $(DEFINE) -MMD -MP -c $< -o $@
$(BUILD)/fuzz/obj/%.S.o: %.S
	$(Q)mkdir -p $(@D) && $(CLANG) $(FUZZ_FLAGS) -MMD -MP -c $< -o $@
$(BUILD)/fuzz/obj/lib/%.c.o: $(SRC_DIR)/%.c
	$(Q)mkdir -p $(@D) && $(CLANG) $(FUZZ_FLAGS) $(LIBRARY_FLAGS) -MMD -MP -c $< -o $@

# The CPU device's kernels, once for each instruction set. They compute: no stack protector; of the sanitized builds one has both
# sanitizers, which take the compiler half a minute on each.
define kernel_rules
$(BUILD)/obj/%.$(1).o: %.c
	$$(call say,CC      ,$$@)
	$(Q)mkdir -p $$(@D) && $(CC) $(IMAGE_FLAGS) -fno-stack-protector $(KERNEL_FLAGS) $(KERNEL_FLAGS_$(1)) -DKERNEL_ISA=$(1) -MMD -MP -c $$< -o $$@
$(BUILD)/hosted/obj/%.$(1).o: %.c
	$(Q)mkdir -p $$(@D) && $(CC) $(HOSTED_FLAGS) $(KERNEL_FLAGS) $(KERNEL_FLAGS_$(1)) -DKERNEL_ISA=$(1) -MMD -MP -c $$< -o $$@
$(BUILD)/test/obj/%.$(1).o: %.c
	$(Q)mkdir -p $$(@D) && $(CC) $(TEST_FLAGS) $(if $(filter sse2,$(1)),,-fno-sanitize=undefined) $(KERNEL_FLAGS) $(KERNEL_FLAGS_$(1)) -DKERNEL_ISA=$(1) -MMD -MP -c $$< -o $$@
$(BUILD)/fuzz/obj/%.$(1).o: %.c
	$(Q)mkdir -p $$(@D) && $(CLANG) $(filter-out -Werror,$(FUZZ_FLAGS)) -Wno-pass-failed $(KERNEL_FLAGS) $(KERNEL_FLAGS_$(1)) -DKERNEL_ISA=$(1) -MMD -MP -c $$< -o $$@
endef
$(foreach isa,$(KERNEL_ISAS),$(eval $(call kernel_rules,$(isa))))

# page.html becomes page_html[] with a NUL behind it, and page_html_size (uint64_t, without the NUL).
define embed_rule
$(BUILD)/%/embedded/$(notdir $(1)).o: $(1)
	$(Q)mkdir -p $$(@D) && name=$(subst .,_,$(notdir $(1))) && printf '%s\n' '.section .rodata' ".global $$$${name}, $$$${name}_size" \
	    ".balign 16" "$$$${name}: .incbin \"$(1)\"" "1: .byte 0" ".balign 8" "$$$${name}_size: .quad 1b - $$$${name}" \
	    '.section .note.GNU-stack,"",@progbits' >$$@.S && $(CC) -c $$@.S -o $$@
endef
$(foreach file,$(EMBEDDED),$(eval $(call embed_rule,$(file))))

$(CUBIN_OBJ): gpu/nvidia/cubins.py $(KERNEL_SRC) $(wildcard gpu/kernels/*.h) $(PTXAS)
	$(call say,PTXAS   ,$@)
	$(Q)mkdir -p $(@D) && $(PYTHON) $< --clang $(CLANG) --ptxas "$(PTXAS)" $(@:.o=.S) $(KERNEL_SRC) && $(CC) -c $(@:.o=.S) -o $@
$(NO_CUBIN_OBJ): gpu/nvidia/cubins.py
	$(Q)mkdir -p $(@D) && $(PYTHON) $< $(@:.o=.S) && $(CC) -c $(@:.o=.S) -o $@

# The version is compiled into one object, which is built anew when it changes.
VERSION_OBJ := $(foreach build,obj hosted/obj test/obj fuzz/obj,$(BUILD)/$(build)/runtime/version.c.o)
$(VERSION_OBJ): $(BUILD)/version
$(VERSION_OBJ): DEFINE = -DINGOT_VERSION='"$(VERSION)"'
$(BUILD)/version: force
	$(Q)mkdir -p $(@D) && echo '$(VERSION)' | cmp -s - $@ || echo '$(VERSION)' >$@

LDFLAGS_IMAGE := -static-pie -nostdlib -nostartfiles -T kernel/ingot.ld -Wl,--gc-sections,-z,max-page-size=4096,-z,noexecstack \
                 -Wl,--no-dynamic-linker,--build-id=none,-z,norelro,-Map=$(BUILD)/ingot.map
$(BUILD)/ingot.elf: $(IMAGE_OBJ) kernel/ingot.ld
	$(call say,LINK    ,$@)
	$(Q)$(CC) $(LDFLAGS_IMAGE) -o $@ $(IMAGE_OBJ) -L$(NEWLIB)/x86_64-elf/lib -lc -lm -lgcc
# For the safety tests: the same image with code that breaks it on purpose.
$(BUILD)/break.elf: $(BUILD)/ingot.elf $(BUILD)/obj/tests/e2e/break.c.o
	$(call say,LINK    ,$@)
	$(Q)$(CC) $(LDFLAGS_IMAGE:ingot.map=break.map) -o $@ $(IMAGE_OBJ) $(BUILD)/obj/tests/e2e/break.c.o -L$(NEWLIB)/x86_64-elf/lib -lc -lm -lgcc
$(BUILD)/break.efi: $(BUILD)/break.elf images/elf2pe.py
	$(Q)$(PYTHON) images/elf2pe.py $< $@
$(BUILD)/BOOTX64.EFI: $(BUILD)/ingot.elf images/elf2pe.py
	$(call say,PE      ,$@)
	$(Q)$(PYTHON) images/elf2pe.py $< $@
# Firmware and kernels for the GPUs of GPU=, beside the program on the ESP. They are NVIDIA's, so they are fetched when asked for.
FIRMWARE_STAMP := $(DEPS)/firmware/.$(shell sed -n 's/^sum=\(............\).*/\1/p' setup/firmware)
GPU_KERNELS := $(if $(GPU),$(addsuffix .cubin,$(addprefix $(BUILD)/kernels/,$(shell images/gpufiles --list sm $(GPU) 2>/dev/null))))
$(FIRMWARE_STAMP): setup/firmware
	$(Q)setup/firmware $(DEPS) && touch $@
$(BUILD)/kernels/sm_%.cubin: gpu/nvidia/cubins.py $(KERNEL_SRC) $(wildcard gpu/kernels/*.h) $(PTXAS) | packages-gpu
	$(call say,PTXAS   ,$@)
	$(Q)$(if $(PTXAS),,setup/ptxas $(DEPS) &&) mkdir -p $(@D) && $(PYTHON) $< --clang $(CLANG) \
	    --ptxas "$(or $(PTXAS),$(DEPS)/cuda/bin/ptxas)" --sm $* --cubin $@ $(KERNEL_SRC)
$(BUILD)/gpu-files: $(if $(GPU),$(FIRMWARE_STAMP)) $(GPU_KERNELS) force
	$(Q)mkdir -p $(@D) && $(if $(GPU),images/gpufiles --firmware $(DEPS)/firmware --kernels $(BUILD)/kernels $(GPU) >$@.new,: >$@.new) && \
	    { cmp -s $@.new $@ && rm $@.new || mv $@.new $@; }
$(BUILD)/ingot.img: $(BUILD)/BOOTX64.EFI $(CONF) images/mkdisk $(BUILD)/gpu-files $(GPU_KERNELS)
	$(call say,IMAGE   ,$@)
	$(Q)images/mkdisk --esp $@ $<=/EFI/BOOT/BOOTX64.EFI $(CONF)=/ingot.conf $$(cat $(BUILD)/gpu-files)

# ---- running -------------------------------------------------------------------------------------------------------

.PHONY: run report usb dist gdb hosted
ifdef NEEDS_SETUP
run usb dist gdb hosted test bench fuzz unit lint $(BUILD)/hosted/ingot: $(NEWLIB_STAMP)
	$(Q)$(MAKE) --no-print-directory $@
else
run: packages-run image $(if $(MODEL),model)  ## boot in QEMU with an NVMe disk, load weights over HTTP and compute (SMP=2 MEM=1024 NIC=virtio; GPU=model)
	$(Q)$(if $(MODEL),setup/vfio-user $(DEPS)/debian13-backports && )images/run $(if $(MODEL),--model $(MODEL)) --smp $(SMP) --mem $(MEM) --nic $(NIC)
usb: image  ## DEV=/dev/sdX: write the image to a USB stick, after showing the stick and asking
	$(Q)images/usb $(BUILD)/ingot.img "$(DEV)"
dist: packages-dist image  ## build/dist: the image compressed, with block map and checksums, for others to download
	$(Q)images/dist $(BUILD)/ingot.img $(BUILD)/dist ingot-$(VERSION)
report:  ## HOST=address TOKEN=...: log, devices, PCI, registers and metrics of a running appliance in one file (FILE=name)
	$(Q)TOKEN="$(TOKEN)" images/report "$(HOST)" $(if $(FILE),"$(FILE)")
gdb: packages-run image  ## QEMU stopped at the image's entry, gdb attached with symbols at the right address
	$(Q)images/gdb
hosted: $(BUILD)/hosted/ingot  ## build/hosted/ingot, the same sources as a Linux program (for GPU boxes under Linux)
$(BUILD)/hosted/ingot: $(HOSTED_OBJ)
	$(call say,LINK    ,$@)
	$(Q)$(CC) -pthread -o $@ $(HOSTED_OBJ) -lm

# ---- tests ---------------------------------------------------------------------------------------------------------

.PHONY: test unit e2e fuzz lint bench
test: packages-test  ## everything that can be tested on this machine; ends with `N passed, N failed`
	$(Q)tests/run
unit: packages-test  ## build the unit tests (with address and undefined-behaviour sanitizers) and run them
	$(Q)tests/run unit
e2e: packages-test  ## boot the image in QEMU and test it over HTTP
	$(Q)tests/run e2e
fuzz: packages-fuzz  ## run every fuzzer for FUZZ_SECONDS (600) each
	$(Q)FUZZ_SECONDS=$(FUZZ_SECONDS) tests/run fuzz
lint: packages-test  ## clang-format and cppcheck
	$(Q)tests/run lint
bench: packages-bench image  ## measure, beside a small Linux guest in the same QEMU: build/bench.json and a table
	$(Q)$(PYTHON) tests/bench/bench.py

$(BUILD)/test/libingot.a: $(TEST_OBJ)
	$(Q)rm -f $@ && ar rcs $@ $(TEST_OBJ)
$(BUILD)/fuzz/libingot.a: $(FUZZ_OBJ)
	$(Q)rm -f $@ && ar rcs $@ $(FUZZ_OBJ)
# ld keeps only the archive members that a test needs; the apps register themselves, so they are named.
$(BUILD)/test/%: $(BUILD)/test/obj/tests/unit/%.c.o $(BUILD)/test/libingot.a
	$(call say,LINK    ,$@)
	$(Q)$(CC) $(TEST_FLAGS) -o $@ $< $(filter $(BUILD)/test/obj/apps/%,$(TEST_OBJ)) $(BUILD)/test/libingot.a -lcmocka -lm
$(BUILD)/test/test_gsp_firmware $(BUILD)/test/test_gsp_boot: | $(FIRMWARE_STAMP)
# Tests of what the twin stands in for include the kernel's own source, so they get cores and clocks of it but nothing above.
TWIN_SRC := $(addprefix tests/host/,cores.c log.c machine.c mmio.c time.c) kernel/task.c kernel/switch.S
KERNEL_TESTS := $(addprefix $(BUILD)/test/test_,acpi memory pci)
$(BUILD)/test/libtwin.a: $(call objects,$(BUILD)/test/obj,$(TWIN_SRC))
	$(Q)rm -f $@ && ar rcs $@ $^
$(KERNEL_TESTS): $(BUILD)/test/%: $(BUILD)/test/obj/tests/unit/%.c.o $(BUILD)/test/libtwin.a
	$(call say,LINK    ,$@)
	$(Q)$(CC) $(TEST_FLAGS) -o $@ $^ -lcmocka -lm
MODEL_KERNEL_OBJ := $(foreach isa,model_fma model_sse2,$(patsubst %.c,$(BUILD)/model/obj/%.$(isa).o,$(KERNEL_SRC)))
# The device model's engines, with memory of the test's own. Their kernels are built as in the model: no sanitizer.
MODEL_ENGINES := $(addprefix tests/model/,compute.c copy.c host.c inline.c kernels.c mmu.c pbdma.c qmd.c sm.c)
$(BUILD)/test/test_model_engines: $(call objects,$(BUILD)/test/obj,tests/unit/test_model_engines.c $(MODEL_ENGINES) gpu/nvidia/push.c gpu/nvidia/qmd.c) $(MODEL_KERNEL_OBJ) $(BUILD)/test/libtwin.a
	$(call say,LINK    ,$@)
	$(Q)$(CC) $(TEST_FLAGS) -o $@ $^ -lcmocka -lm
# The device model's GSP-RM, against a guest that the test is.
MODEL_RM_SRC := $(addprefix tests/model/,chip.c wpr.c rm.c rpc.c info.c objects.c channels.c controls.c events.c)
$(BUILD)/test/libmodel.a: $(call objects,$(BUILD)/test/obj,$(MODEL_RM_SRC))
	$(Q)rm -f $@ && ar rcs $@ $^
$(BUILD)/test/test_model_rm: $(BUILD)/test/%: $(BUILD)/test/obj/tests/unit/%.c.o $(BUILD)/test/libmodel.a
	$(call say,LINK    ,$@)
	$(Q)$(CC) $(TEST_FLAGS) -o $@ $^ -lcmocka
# The GPU model inside a test: linked into one object that shows the names of tests/model/embed.h only.
MODEL_TESTS := $(addprefix $(BUILD)/test/test_,gsp_model gpu_model model_boot)
$(BUILD)/test/model.o: $(call objects,$(BUILD)/test/obj,$(wildcard tests/model/*.c)) $(MODEL_KERNEL_OBJ)
	$(call say,LINK    ,$@)
	$(Q)ld -r -o $@.all $^ && objcopy --wildcard --keep-global-symbol='embed_*' $@.all $@ && rm $@.all
$(BUILD)/test/test_gpu_model: private TEST_FLAGS += -Wl,--wrap=nvidia_check
$(MODEL_TESTS): $(BUILD)/test/%: $(BUILD)/test/obj/tests/unit/%.c.o $(BUILD)/test/model.o $(BUILD)/test/libingot.a | $(FIRMWARE_STAMP)
	$(call say,LINK    ,$@)
	$(Q)$(CC) $(TEST_FLAGS) -o $@ $< $(BUILD)/test/model.o $(filter $(BUILD)/test/obj/apps/%,$(TEST_OBJ)) $(BUILD)/test/libingot.a -lcmocka -lm
# What cores do at the same time, once more under the thread sanitizer, which goes with no other.
$(BUILD)/test/%.tsan: tests/unit/%.c $(TWIN_SRC) $(wildcard kernel/*.c kernel/*.h tests/host/*.h)
	$(call say,CLANG   ,$@)
	$(Q)mkdir -p $(@D) && $(CLANG) $(filter-out -fsanitize% -fno-sanitize%,$(TEST_FLAGS)) -fsanitize=thread -o $@ $< $(TWIN_SRC) -lcmocka -lm
$(BUILD)/fuzz/%: $(BUILD)/fuzz/obj/tests/fuzz/%.c.o $(BUILD)/fuzz/libingot.a
	$(call say,LINK    ,$@)
	$(Q)$(CLANG) $(FUZZ_FLAGS) -fsanitize=fuzzer -o $@ $< $(filter $(BUILD)/fuzz/obj/apps/%,$(FUZZ_OBJ)) $(BUILD)/fuzz/libingot.a -lm
endif

# ---- the GPU model: an NVIDIA GPU behind QEMU's vfio-user-pci device; it shares no source with the driver --------------

MODEL_FLAGS := -O2 -std=gnu11 -g -D_GNU_SOURCE $(WARNINGS) -I.
MODEL_OBJ   := $(patsubst %,$(BUILD)/model/obj/%.o,$(wildcard tests/model/*.c)) $(MODEL_KERNEL_OBJ)
.PHONY: model model-files
# and what the tests give it: the real firmware, the kernels for its chips
model-files: $(BUILD)/model/gpu $(FIRMWARE_STAMP) $(patsubst %,$(BUILD)/kernels/sm_%.cubin,75 86 89 90 120)
model: $(BUILD)/model/gpu  ## build/model/gpu, an NVIDIA GPU for QEMU to attach (its --help says how)
$(BUILD)/model/obj/%.c.o: %.c
	$(call say,CC      ,$@)
	$(Q)mkdir -p $(@D) && $(CC) $(MODEL_FLAGS) -MMD -MP -c $< -o $@
# What its shaders run: gpu/kernels with the GPU's tile sizes, with and without fused multiply and add.
$(BUILD)/model/obj/%.model_fma.o: %.c
	$(call say,CC      ,$@)
	$(Q)mkdir -p $(@D) && $(CC) $(MODEL_FLAGS) $(KERNEL_FLAGS) $(KERNEL_FLAGS_avx2) -DKERNEL_TILES_OF_GPU -DKERNEL_ISA=model_fma -MMD -MP -c $< -o $@
$(BUILD)/model/obj/%.model_sse2.o: %.c
	$(call say,CC      ,$@)
	$(Q)mkdir -p $(@D) && $(CC) $(MODEL_FLAGS) $(KERNEL_FLAGS) $(KERNEL_FLAGS_sse2) -DKERNEL_TILES_OF_GPU -DKERNEL_ISA=model_sse2 -MMD -MP -c $< -o $@
$(BUILD)/model/gpu: $(MODEL_OBJ)
	$(call say,LINK    ,$@)
	$(Q)$(CC) -o $@ $(MODEL_OBJ) -lm

# ---- on a GPU box: static programs, so that they can be carried to one ----------------------------------------------

HW_CUBIN_OBJ := $(BUILD)/kernels/hw_cubins.o
HW_OBJ := $(filter-out %/tests/host/main.c.o,$(HOSTED_OBJ)) $(HW_CUBIN_OBJ)
.PHONY: hw-test hw-bench ptxas
ptxas:  ## fetch NVIDIA's assembler (87 MB, non-free) for machines without the CUDA toolkit; the next build has kernels for its GPUs
	$(Q)setup/ptxas $(DEPS)
hw-test: $(BUILD)/hw/hw-test $(BUILD)/hosted/ingot  ## test compute on a real NVIDIA GPU under Linux; no CUDA library is needed
	$(Q)tests/hw/run
hw-bench: $(BUILD)/hw/gpu-ingot $(BUILD)/hw/gpu-cuda  ## measure it beside CUDA (needs nvcc): latency, launches, copies, start-up
	$(Q)$(PYTHON) tests/bench/gpu.py $^ --json $(BUILD)/gpu-bench.json
$(HW_CUBIN_OBJ): gpu/nvidia/cubins.py $(wildcard tests/hw/device/*.[ch]) gpu/kernels/kernel.h $(PTXAS)
	$(call say,PTXAS   ,$@)
	$(Q)mkdir -p $(@D) && $(PYTHON) $< --name hw --clang $(CLANG) --ptxas "$(PTXAS)" $(@:.o=.S) tests/hw/device/kernels.c && \
	    $(CC) -c $(@:.o=.S) -o $@
$(BUILD)/hw/hw-test: $(call objects,$(BUILD)/hosted/obj,$(wildcard tests/hw/*.c)) $(HW_OBJ)
	$(call say,LINK    ,$@)
	$(Q)mkdir -p $(@D) && $(CC) -static -pthread -o $@ $^ -lm
$(BUILD)/hw/gpu-ingot: $(BUILD)/hosted/obj/tests/bench/gpu_ingot.c.o $(HW_OBJ)
	$(call say,LINK    ,$@)
	$(Q)mkdir -p $(@D) && $(CC) -static -pthread -o $@ $^ -lm
$(BUILD)/hw/gpu-cuda: tests/bench/gpu_cuda.cu tests/bench/gpu_bench.h
	$(call say,NVCC    ,$@)
	$(Q)mkdir -p $(@D) && PATH=$$PATH:$(dir $(PTXAS)) nvcc -O2 -arch=sm_90 -I. -o $@ $< -lcuda

# ---- the rest ------------------------------------------------------------------------------------------------------

.PHONY: compile_commands.json clean distclean help
compile_commands.json:  ## for editors and clang-tidy
	$(Q)$(MAKE) --no-print-directory -Bnk V=1 $(BUILD)/ingot.elf | $(PYTHON) images/compile_commands.py >$@
clean:  ## remove what was built, keep the fetched sources and newlib
	$(Q)find $(BUILD) -mindepth 1 -maxdepth 1 ! -name deps -exec rm -rf {} +
distclean:  ## remove everything that is not in the repository
	$(Q)rm -rf $(BUILD) compile_commands.json
help:  ## this list
	$(Q)awk -F':.*  ## ' '/^[a-z0-9_.-]+:.*  ## / { printf "make %-22s %s\n", $$1, $$2 }' Makefile

-include $(shell find $(BUILD)/obj $(BUILD)/hosted/obj $(BUILD)/test/obj $(BUILD)/fuzz/obj $(BUILD)/model/obj -name '*.d' 2>/dev/null)
