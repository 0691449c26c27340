# TardiGrad. `make help` lists the targets; README.md says what they are for.
#
#   make CC=clang            another compiler
#   make MARCH=x86-64-v3     a binary for other machines than this one (default: native)
#   make CUDA=0              leave CUDA out although it is here (CUDA=1: fail where it is not)
#   *_HOME                   libraries in other places: OPENBLAS_HOME, DNNL_HOME, CYAML_HOME,
#                            JANSSON_HOME, HWLOC_HOME, XXHASH_HOME, CHECK_HOME, CUDA_HOME, CUDNN_HOME,
#                            NCCL_HOME

CC     ?= cc
MPICC  ?= mpicc
MARCH  ?= native
BUILD  ?= build
PREFIX ?= /usr/local
REQUIRE ?=

# Debian packages: to build and run; to test; to lint.
PACKAGES_BUILD := gcc libc6-dev make pkg-config openmpi-bin libopenmpi-dev libopenblas-openmp-dev \
                  libdnnl-dev libcyaml-dev libjansson-dev libhwloc-dev libxxhash-dev zlib1g-dev gnuplot-nox
PACKAGES_DATA  := dataset-fashion-mnist
PACKAGES_TEST  := check g++ valgrind python3 python3-venv man-db
# Not everywhere of that name; without it one test is skipped.
PACKAGES_LOOK  := chromium
PACKAGES_LINT  := clang clang-format clang-tidy libomp-dev cppcheck shellcheck

# ---- where the libraries are: pkg-config, or <NAME>_HOME ----
pc_cflags = $(if $($(2)_HOME),-I$($(2)_HOME)/include,$(shell pkg-config --cflags $(1) 2>/dev/null))
pc_libs   = $(if $($(2)_HOME),-L$($(2)_HOME)/lib -Wl$(comma)-rpath$(comma)$($(2)_HOME)/lib $(3),$(shell pkg-config --libs $(1) 2>/dev/null || echo $(3)))
comma := ,
# The OpenMP build of OpenBLAS shares its threads with oneDNN and with us; the pthread build spins
# beside them. Debian keeps both apart in folders of their own.
OPENBLAS_DIR := $(if $(OPENBLAS_HOME),$(OPENBLAS_HOME)/lib,$(firstword $(wildcard /usr/lib/*/openblas-openmp)))
OPENBLAS_INC := $(if $(OPENBLAS_HOME),-I$(OPENBLAS_HOME)/include,$(addprefix -I,$(wildcard $(subst /usr/lib,/usr/include,$(OPENBLAS_DIR)))))
OPENBLAS_LIBS := $(if $(OPENBLAS_DIR),-L$(OPENBLAS_DIR) -Wl$(comma)-rpath$(comma)$(OPENBLAS_DIR)) -lopenblas

MPI_CFLAGS := $(shell $(MPICC) --showme:compile 2>/dev/null)
MPI_LIBS   := $(shell $(MPICC) --showme:link 2>/dev/null)

# Ours always apply; CFLAGS stays the user's.
TG_CFLAGS := -std=c11 -D_GNU_SOURCE -Iinclude -Isrc -Itests -fopenmp -fvisibility=hidden -fPIC \
  -Wall -Wextra -Wshadow -Wmissing-prototypes -Wvla -Werror \
  -ffp-contract=off -fno-math-errno -fno-trapping-math \
  $(call pc_cflags,libcyaml,CYAML) $(call pc_cflags,jansson,JANSSON) $(call pc_cflags,hwloc,HWLOC) \
  $(call pc_cflags,libxxhash,XXHASH) $(if $(DNNL_HOME),-I$(DNNL_HOME)/include) $(OPENBLAS_INC)
MARCH_FLAGS := $(if $(MARCH),-march=$(MARCH))
CFLAGS ?= -O3 -g
TG_LIBS := $(call pc_libs,libcyaml,CYAML,-lcyaml) $(call pc_libs,jansson,JANSSON,-ljansson) \
  $(call pc_libs,hwloc,HWLOC,-lhwloc) $(call pc_libs,libxxhash,XXHASH,-lxxhash) -lz \
  $(if $(DNNL_HOME),-L$(DNNL_HOME)/lib -Wl$(comma)-rpath$(comma)$(DNNL_HOME)/lib) -ldnnl \
  $(OPENBLAS_LIBS) $(MPI_LIBS) -lm -lpthread -ldl
VERSION := 0.1.0
TG_CFLAGS += -DTG_VERSION='"$(VERSION)"'
SANITIZE ?=
# make V=1 shows whole commands.
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-5s %s\n' $(1) $(2))

# ---- CUDA: where it is, and what the plugin is made of ----
nvcc_on_path := $(shell command -v nvcc 2>/dev/null)
CUDA_HOME ?= $(patsubst %/bin/nvcc,%,$(firstword $(wildcard $(nvcc_on_path) /usr/local/cuda/bin/nvcc /opt/cuda/bin/nvcc)))
# Beside the toolkit, or where Python's packages nvidia-cudnn and nvidia-nccl put them.
site_nvidia = $(shell python3 -c 'import nvidia.$(1) as m; print(list(m.__path__)[0])' 2>/dev/null)
beside_cuda = $(if $(wildcard $(CUDA_HOME)/include/$(1)),$(CUDA_HOME))
CUDNN_HOME ?= $(or $(call beside_cuda,cudnn.h),$(call site_nvidia,cudnn))
NCCL_HOME  ?= $(or $(call beside_cuda,nccl.h),$(call site_nvidia,nccl))
ifneq ($(and $(CUDA_HOME),$(CUDNN_HOME),$(NCCL_HOME)),)
  CUDA ?= 1
endif
CUDA ?= 0
ifeq ($(CUDA),1)
  cuda_missing := $(if $(CUDA_HOME),,CUDA (nvcc; CUDA_HOME)) $(if $(CUDNN_HOME),,cuDNN (CUDNN_HOME)) $(if $(NCCL_HOME),,NCCL (NCCL_HOME))
  ifneq ($(strip $(cuda_missing)),)
    $(error CUDA=1, but not found: $(strip $(cuda_missing)))
  endif
  PLUGIN := $(BUILD)/libtardigrad_cuda.so
endif
NVCC := $(CUDA_HOME)/bin/nvcc
cuda_homes := $(sort $(CUDA_HOME) $(CUDNN_HOME) $(NCCL_HOME))
CUDA_INCLUDES := $(patsubst %,-I%/include,$(cuda_homes))
cuda_libdirs := $(foreach h,$(cuda_homes),$(firstword $(wildcard $(h)/lib64 $(h)/lib)))
# Python's packages hold versioned names only: libcudnn.so.9, libnccl.so.2.
cuda_so = $(firstword $(wildcard $(foreach d,$(cuda_libdirs),$(d)/lib$(1).so $(d)/lib$(1).so.*)))
CUDA_LIBS = $(foreach l,cublas cudnn nccl,$(call cuda_so,$(l))) -L$(firstword $(wildcard $(CUDA_HOME)/lib64 $(CUDA_HOME)/lib)) -lcudart_static \
  $(foreach d,$(cuda_libdirs),-Wl$(comma)-rpath$(comma)$(d)) -ldl -lrt -lpthread -lm
# sm_80 and sm_90, and PTX for what comes after them. Kernels round where the C code rounds: no
# contraction where a file says so (update.cu), see kernels/.
CUDA_ARCHS ?= -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90,code=[sm_90,compute_90]
NVCCFLAGS ?= -O3 -lineinfo
TG_NVCCFLAGS := -std=c++17 $(CUDA_ARCHS) -Iinclude -Isrc -I. -Werror all-warnings \
  -Xcompiler -Wall,-Wextra,-fPIC,-fvisibility=hidden,-fno-exceptions,-fno-rtti,-fno-threadsafe-statics

PLUGIN_ONLY := $(filter-out src/backend/cuda.c,$(sort $(wildcard src/backend/cuda_*.c)))
PLUGIN_OBJECTS := $(PLUGIN_ONLY:%.c=$(BUILD)/%.o) $(patsubst %.cu,$(BUILD)/%.cu.o,$(sort $(wildcard kernels/*.cu)))

SOURCES := $(filter-out $(PLUGIN_ONLY),$(sort $(wildcard src/*/*.c)))
OBJECTS := $(SOURCES:%.c=$(BUILD)/%.o)
LIB_OBJECTS := $(filter-out $(BUILD)/src/cli/%,$(OBJECTS))
CLI_OBJECTS := $(filter $(BUILD)/src/cli/%,$(OBJECTS))
SUPPORT := $(patsubst %.c,$(BUILD)/%.o,$(sort $(wildcard tests/support/*.c)))
TESTS     := $(patsubst %.c,$(BUILD)/%,$(filter-out tests/mpi/% tests/support/%,$(sort $(wildcard tests/*/test_*.c))))
MPI_TESTS := $(patsubst %.c,$(BUILD)/%,$(sort $(wildcard tests/mpi/test_*.c)))
# bench_cuda_kernels calls kernels/ itself, so that it is built with CUDA only.
BENCHES   := $(patsubst %.c,$(BUILD)/%,$(filter-out bench/bench_cuda_kernels.c,$(sort $(wildcard bench/bench_*.c))))

.PHONY: all check-cuda registers emulated help demo check check-unit check-mpi check-scripts valgrind asan ubsan lint format bench bench-cuda bench-cuda-emulated \
        install uninstall deps deps-test deps-lint info man clean
.DEFAULT_GOAL := all

all: $(BUILD)/tardigrad $(BUILD)/libtardigrad.a $(BUILD)/tardigrad.1 $(PLUGIN) ## build the program, the library, the man page

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1|\2/' | \
	  awk -F'|' '{printf "  %-14s %s\n", $$1, $$2}'

# ---- set-up ----
deps: ; @launch/deps.sh $(PACKAGES_BUILD) $(PACKAGES_DATA) ## install what building and the demo need, or say what that is
deps-test:
	@launch/deps.sh $(PACKAGES_BUILD) $(PACKAGES_DATA) $(PACKAGES_TEST)
	@launch/deps.sh $(PACKAGES_LOOK) || echo "without $(PACKAGES_LOOK) the test that looks at reports is skipped" >&2
deps-lint: ; @launch/deps.sh $(PACKAGES_LINT)

# ---- build ----
$(BUILD)/src/dist/%_mpi.o: MODULE_CFLAGS = $(MPI_CFLAGS)
$(BUILD)/tests/mpi/%.o: MODULE_CFLAGS = $(MPI_CFLAGS)
$(BUILD)/bench/%.o: MODULE_CFLAGS = $(MPI_CFLAGS)

$(BUILD)/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(TG_CFLAGS) $(MARCH_FLAGS) $(CFLAGS) $(SANITIZE) $(MODULE_CFLAGS) -MMD -MP -c $< -o $@

# Everything is rebuilt when the flags change.
FLAGS_NOW := $(CC) $(TG_CFLAGS) $(MARCH_FLAGS) $(CFLAGS) $(SANITIZE)
$(shell mkdir -p $(BUILD); printf '%s' '$(subst ','"'"',$(FLAGS_NOW))' | cmp -s - $(BUILD)/flags || \
        printf '%s' '$(subst ','"'"',$(FLAGS_NOW))' > $(BUILD)/flags)

$(BUILD)/src/backend/cuda_%.o: MODULE_CFLAGS = $(CUDA_INCLUDES) -I.

$(BUILD)/%.cu.o: %.cu $(BUILD)/flags-cuda
	@mkdir -p $(@D)
	$(call say,NVCC,$<)
	$(Q)$(NVCC) $(TG_NVCCFLAGS) $(NVCCFLAGS) $(CUDA_INCLUDES) -MMD -MP -MF $(@:.o=.d) -c $< -o $@

# One exported symbol; what it shares with the program it is handed (src/backend/cuda_plugin.h).
$(BUILD)/libtardigrad_cuda.so: $(PLUGIN_OBJECTS) $(BUILD)/libtardigrad.a
	$(call say,LINK,$@)
	$(Q)$(CC) -shared $(CFLAGS) $(LDFLAGS) -Wl,--no-undefined -Wl,--exclude-libs,ALL -o $@ $^ $(CUDA_LIBS)

$(shell mkdir -p $(BUILD); printf '%s' '$(NVCC) $(TG_NVCCFLAGS) $(NVCCFLAGS)' | cmp -s - $(BUILD)/flags-cuda || \
        printf '%s' '$(NVCC) $(TG_NVCCFLAGS) $(NVCCFLAGS)' > $(BUILD)/flags-cuda)

# The same sources over an emulated CUDA (tests/cuda): kernels run on the host, for tests.
EMULATED := $(BUILD)/libtardigrad_cuda_emulated.so
EMULATED_OBJECTS := $(PLUGIN_ONLY:%.c=$(BUILD)/emulated/%.o) \
  $(patsubst %.cu,$(BUILD)/emulated/%.cu.o,$(sort $(wildcard kernels/*.cu))) \
  $(patsubst %.cc,$(BUILD)/emulated/%.o,$(filter-out tests/cuda/test_%,$(sort $(wildcard tests/cuda/*.cc))))
EMULATED_CXXFLAGS := -std=c++17 -DTG_EMULATED -Itests/cuda/include -Iinclude -Isrc -I. -fPIC -fvisibility=hidden \
  -Wall -Wextra -Wno-unknown-pragmas -Werror -fno-strict-aliasing -ffp-contract=off $(CFLAGS) $(SANITIZE)
$(BUILD)/emulated/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(TG_CFLAGS) $(MARCH_FLAGS) $(CFLAGS) $(SANITIZE) -Itests/cuda/include -I. -MMD -MP -c $< -o $@
$(BUILD)/emulated/%.cu.o: %.cu $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CXX,$@)
	$(Q)$(CXX) -x c++ $(EMULATED_CXXFLAGS) -MMD -MP -c $< -o $@
$(BUILD)/emulated/%.o: %.cc $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CXX,$<)
	$(Q)$(CXX) $(EMULATED_CXXFLAGS) -MMD -MP -c $< -o $@
$(EMULATED): $(EMULATED_OBJECTS) $(BUILD)/libtardigrad.a
	$(call say,LINK,$@)
	$(Q)$(CXX) -shared $(CFLAGS) $(SANITIZE) $(LDFLAGS) -Wl,--exclude-libs,ALL -o $@ $^ -lpthread -lrt -lm
EMULATOR_TEST := $(BUILD)/tests/cuda/test_emulator
$(EMULATOR_TEST): $(patsubst %.cc,$(BUILD)/emulated/%.o,$(sort $(wildcard tests/cuda/*.cc)))
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CXX) $(CFLAGS) $(SANITIZE) $(LDFLAGS) -o $@ $^ -lpthread -lrt -lm
emulated: $(EMULATED) $(EMULATOR_TEST)

$(BUILD)/libtardigrad.a: $(LIB_OBJECTS)
	@rm -f $@
	$(call say,AR,$@)
	$(Q)ar rcs $@ $^

$(BUILD)/tardigrad: $(CLI_OBJECTS) $(BUILD)/libtardigrad.a
	$(call say,LINK,$@)
	$(Q)$(CC) -fopenmp $(CFLAGS) $(SANITIZE) $(LDFLAGS) -o $@ $^ $(TG_LIBS)

$(BUILD)/tests/%: $(BUILD)/tests/%.o $(SUPPORT) $(BUILD)/libtardigrad.a
	$(call say,LINK,$@)
	$(Q)$(CC) -fopenmp $(CFLAGS) $(SANITIZE) $(LDFLAGS) -o $@ $^ $(call pc_libs,check,CHECK,-lcheck -lsubunit) $(TG_LIBS) -lrt

# The kernels' own benchmark: with CUDA, and over the emulated one.
KERNEL_BENCH := bench/bench_cuda_kernels.c $(sort $(wildcard bench/cuda_rows_*.c))
$(KERNEL_BENCH:%.c=$(BUILD)/%.o): MODULE_CFLAGS = $(CUDA_INCLUDES) -I.
$(BUILD)/bench/bench_cuda_kernels: $(KERNEL_BENCH:%.c=$(BUILD)/%.o) $(filter %.cu.o,$(PLUGIN_OBJECTS)) $(BUILD)/libtardigrad.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -L$(firstword $(wildcard $(CUDA_HOME)/lib64 $(CUDA_HOME)/lib)) -lcudart_static -ldl -lrt -lpthread -lm
$(BUILD)/emulated/bench/bench_cuda_kernels: $(KERNEL_BENCH:%.c=$(BUILD)/emulated/%.o) \
    $(filter-out $(BUILD)/emulated/src/%,$(EMULATED_OBJECTS)) $(BUILD)/libtardigrad.a
	$(call say,LINK,$@)
	$(Q)$(CXX) $(CFLAGS) $(SANITIZE) $(LDFLAGS) -o $@ $^ -lpthread -lrt -lm

$(BUILD)/bench/%: $(BUILD)/bench/%.o $(BUILD)/libtardigrad.a
	$(call say,LINK,$@)
	$(Q)$(CC) -fopenmp $(CFLAGS) $(SANITIZE) $(LDFLAGS) -o $@ $^ $(TG_LIBS)

$(BUILD)/tardigrad.1: $(BUILD)/tardigrad
	$(Q)$(BUILD)/tardigrad --man > $@.part && mv $@.part $@
man: $(BUILD)/tardigrad.1

include bench/smpi.mk

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
.SECONDARY:

# ---- use ----
demo: deps ## install what is missing, build, train for real: a server and 4 workers on Fashion-MNIST
	@$(MAKE) --no-print-directory all
	@launch/demo.sh $(BUILD)/tardigrad

check: deps-test ## install what is missing, build, run every test this machine can run
	@$(MAKE) --no-print-directory all emulated $(TESTS) $(MPI_TESTS) $(SMPI) $(if $(SMPI),$(SMPI_BESIDE))
	@REQUIRE='$(REQUIRE)' tests/run.sh $(BUILD) unit mpi emulated scripts

check-cuda: ## on a GPU machine: the CUDA backend against references; without a GPU skipped, REQUIRE=cuda: failed
	@$(MAKE) --no-print-directory all $(TESTS)
	@REQUIRE='$(REQUIRE)' tests/run.sh $(BUILD) cuda

check-unit: $(TESTS) ; @tests/run.sh $(BUILD) unit
check-mpi: all $(MPI_TESTS) ; @tests/run.sh $(BUILD) mpi
check-scripts: all $(SMPI) ; @tests/run.sh $(BUILD) scripts
tests: $(TESTS) $(MPI_TESTS) $(BUILD)/tardigrad
benches: $(BENCHES)

valgrind: ## unit tests under valgrind (AVX2: valgrind knows no AVX-512)
	@$(MAKE) --no-print-directory BUILD=build-valgrind MARCH=x86-64-v3 CFLAGS='-O1 -g' tests
	@tests/run.sh build-valgrind valgrind

asan: ## unit, MPI and command tests with AddressSanitizer
	@$(MAKE) --no-print-directory BUILD=build-asan CFLAGS='-O1 -g -fno-omit-frame-pointer' SANITIZE=-fsanitize=address tests emulated
	@SANITIZER=address tests/run.sh build-asan unit mpi emulated commands

ubsan: ## the same with UndefinedBehaviorSanitizer
	@$(MAKE) --no-print-directory BUILD=build-ubsan CFLAGS='-O1 -g' SANITIZE='-fsanitize=undefined -fno-sanitize-recover=all' tests emulated
	@SANITIZER=undefined tests/run.sh build-ubsan unit mpi emulated commands

registers: ## what ptxas says of every kernel's registers, for sm_80 and sm_90; fails where one spills
	@kernels/registers.sh $(NVCC) $(TG_NVCCFLAGS) $(CUDA_INCLUDES)

lint: ## layout, floors, spelling of names, static analysis
	@tests/lint.sh

format: ## lay out every source file
	@clang-format -i $(wildcard include/tardigrad/*.h src/*/*.[ch] kernels/*.[ch] kernels/*.cu* tests/*/*.[ch] tests/cuda/*.cc tests/cuda/include/*.h bench/*.[ch])

bench: all $(BENCHES) ## measure; results and machine go to bench/results/
	@bench/run.sh $(BUILD)

bench-cuda: all $(BENCHES) $(if $(PLUGIN),$(BUILD)/bench/bench_cuda_kernels) ## on a GPU machine: measure beside PyTorch, in 8 minutes
	@NVCC='$(NVCC)' bench/run_cuda.sh $(BUILD)

# The same programs at tiny sizes over the emulated CUDA: whether they work; their numbers mean nothing.
bench-cuda-emulated: all emulated $(BENCHES) $(BUILD)/emulated/bench/bench_cuda_kernels
	@bench/run_cuda.sh $(BUILD) --emulated

install: all ## into PREFIX (default /usr/local); DESTDIR honoured
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib $(DESTDIR)$(PREFIX)/include/tardigrad \
	  $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/tardigrad/configs
	install -m 755 $(BUILD)/tardigrad $(DESTDIR)$(PREFIX)/bin/
	install -m 644 $(BUILD)/libtardigrad.a $(DESTDIR)$(PREFIX)/lib/
	$(if $(PLUGIN),install -m 755 $(PLUGIN) $(DESTDIR)$(PREFIX)/lib/)
	install -m 644 include/tardigrad/*.h include/tardigrad/*.def $(DESTDIR)$(PREFIX)/include/tardigrad/
	install -m 644 $(BUILD)/tardigrad.1 $(DESTDIR)$(PREFIX)/share/man/man1/
	install -m 644 configs/*.yaml $(DESTDIR)$(PREFIX)/share/tardigrad/configs/

uninstall: ## what install put there
	rm -rf $(DESTDIR)$(PREFIX)/include/tardigrad $(DESTDIR)$(PREFIX)/share/tardigrad
	rm -f $(DESTDIR)$(PREFIX)/bin/tardigrad $(DESTDIR)$(PREFIX)/lib/libtardigrad.a $(DESTDIR)$(PREFIX)/lib/libtardigrad_cuda.so $(DESTDIR)$(PREFIX)/share/man/man1/tardigrad.1

info: ## what the build found
	@echo "CC        $(CC): $$($(CC) --version | head -1)"
	@echo "MPICC     $(MPICC): $$($(MPICC) --showme:version 2>&1 | head -1)"
	@echo "OpenBLAS  $(OPENBLAS_LIBS)"
	@echo "CFLAGS    $(TG_CFLAGS) $(MARCH_FLAGS) $(CFLAGS)"
	@echo "LIBS      $(TG_LIBS)"
	@echo "CUDA      $(if $(PLUGIN),$(CUDA_HOME); cuDNN in $(CUDNN_HOME); NCCL in $(NCCL_HOME),left out)"

clean: ## remove build folders
	rm -rf build build-asan build-ubsan build-valgrind build-clang
