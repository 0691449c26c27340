# TardiGrad. `make help` lists the targets; README.md says what they are for.
#
#   make CC=clang            another compiler
#   make MARCH=x86-64-v3     a binary for other machines than this one (default: native)
#   make CUDA=0              leave CUDA out although it is here
#   *_HOME                   libraries in other places: OPENBLAS_HOME, DNNL_HOME, CYAML_HOME,
#                            JANSSON_HOME, HWLOC_HOME, XXHASH_HOME, CHECK_HOME

CC     ?= cc
MPICC  ?= mpicc
MARCH  ?= native
BUILD  ?= build
PREFIX ?= /usr/local
REQUIRE ?=

# Debian packages: to build and run; to test; to lint.
PACKAGES_BUILD := gcc libc6-dev make pkg-config openmpi-bin libopenmpi-dev libopenblas-openmp-dev \
                  libdnnl-dev libcyaml-dev libjansson-dev libhwloc-dev libxxhash-dev zlib1g-dev
PACKAGES_DATA  := dataset-fashion-mnist
PACKAGES_TEST  := check valgrind python3 python3-venv man-db
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
  $(OPENBLAS_LIBS) $(MPI_LIBS) -lm -lpthread
VERSION := 0.1.0
TG_CFLAGS += -DTG_VERSION='"$(VERSION)"'
SANITIZE ?=
# make V=1 shows whole commands.
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-5s %s\n' $(1) $(2))

SOURCES := $(sort $(wildcard src/*/*.c))
OBJECTS := $(SOURCES:%.c=$(BUILD)/%.o)
LIB_OBJECTS := $(filter-out $(BUILD)/src/cli/%,$(OBJECTS))
CLI_OBJECTS := $(filter $(BUILD)/src/cli/%,$(OBJECTS))
SUPPORT := $(patsubst %.c,$(BUILD)/%.o,$(sort $(wildcard tests/support/*.c)))
TESTS     := $(patsubst %.c,$(BUILD)/%,$(filter-out tests/mpi/% tests/support/%,$(sort $(wildcard tests/*/test_*.c))))
MPI_TESTS := $(patsubst %.c,$(BUILD)/%,$(sort $(wildcard tests/mpi/test_*.c)))
BENCHES   := $(patsubst %.c,$(BUILD)/%,$(sort $(wildcard bench/bench_*.c)))

.PHONY: all help demo check check-unit check-mpi check-scripts valgrind asan ubsan lint format bench \
        install uninstall deps deps-test deps-lint info man clean
.DEFAULT_GOAL := all

all: $(BUILD)/tardigrad $(BUILD)/libtardigrad.a $(BUILD)/tardigrad.1 ## build the program, the library, the man page

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1|\2/' | \
	  awk -F'|' '{printf "  %-14s %s\n", $$1, $$2}'

# ---- set-up ----
deps: ; @launch/deps.sh $(PACKAGES_BUILD) $(PACKAGES_DATA) ## install what building and the demo need, or say what that is
deps-test: ; @launch/deps.sh $(PACKAGES_BUILD) $(PACKAGES_DATA) $(PACKAGES_TEST)
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

$(BUILD)/bench/%: $(BUILD)/bench/%.o $(BUILD)/libtardigrad.a
	$(call say,LINK,$@)
	$(Q)$(CC) -fopenmp $(CFLAGS) $(SANITIZE) $(LDFLAGS) -o $@ $^ $(TG_LIBS)

$(BUILD)/tardigrad.1: $(BUILD)/tardigrad
	$(Q)$(BUILD)/tardigrad --man > $@.part && mv $@.part $@
man: $(BUILD)/tardigrad.1

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
.SECONDARY:

# ---- use ----
demo: deps ## install what is missing, build, train for real: a server and 4 workers on Fashion-MNIST
	@$(MAKE) --no-print-directory all
	@launch/demo.sh $(BUILD)/tardigrad

check: deps-test ## install what is missing, build, run every test this machine can run
	@$(MAKE) --no-print-directory all $(TESTS) $(MPI_TESTS)
	@REQUIRE='$(REQUIRE)' tests/run.sh $(BUILD) unit mpi scripts

check-unit: $(TESTS) ; @tests/run.sh $(BUILD) unit
check-mpi: all $(MPI_TESTS) ; @tests/run.sh $(BUILD) mpi
check-scripts: all ; @tests/run.sh $(BUILD) scripts
tests: $(TESTS) $(MPI_TESTS) $(BUILD)/tardigrad
benches: $(BENCHES)

valgrind: ## unit tests under valgrind (AVX2: valgrind knows no AVX-512)
	@$(MAKE) --no-print-directory BUILD=build-valgrind MARCH=x86-64-v3 CFLAGS='-O1 -g' tests
	@tests/run.sh build-valgrind valgrind

asan: ## unit, MPI and command tests with AddressSanitizer
	@$(MAKE) --no-print-directory BUILD=build-asan CFLAGS='-O1 -g -fno-omit-frame-pointer' SANITIZE=-fsanitize=address tests
	@SANITIZER=address tests/run.sh build-asan unit mpi commands

ubsan: ## the same with UndefinedBehaviorSanitizer
	@$(MAKE) --no-print-directory BUILD=build-ubsan CFLAGS='-O1 -g' SANITIZE='-fsanitize=undefined -fno-sanitize-recover=all' tests
	@SANITIZER=undefined tests/run.sh build-ubsan unit mpi commands

lint: ## layout, floors, spelling of names, static analysis
	@tests/lint.sh

format: ## lay out every source file
	@clang-format -i $(wildcard include/tardigrad/*.h src/*/*.[ch] tests/*/*.[ch] bench/*.[ch])

bench: all $(BENCHES) ## measure; results and machine go to bench/results/
	@bench/run.sh $(BUILD)

install: all ## into PREFIX (default /usr/local); DESTDIR honoured
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib $(DESTDIR)$(PREFIX)/include/tardigrad \
	  $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/tardigrad/configs
	install -m 755 $(BUILD)/tardigrad $(DESTDIR)$(PREFIX)/bin/
	install -m 644 $(BUILD)/libtardigrad.a $(DESTDIR)$(PREFIX)/lib/
	install -m 644 include/tardigrad/*.h include/tardigrad/*.def $(DESTDIR)$(PREFIX)/include/tardigrad/
	install -m 644 $(BUILD)/tardigrad.1 $(DESTDIR)$(PREFIX)/share/man/man1/
	install -m 644 configs/*.yaml $(DESTDIR)$(PREFIX)/share/tardigrad/configs/

uninstall: ## what install put there
	rm -rf $(DESTDIR)$(PREFIX)/include/tardigrad $(DESTDIR)$(PREFIX)/share/tardigrad
	rm -f $(DESTDIR)$(PREFIX)/bin/tardigrad $(DESTDIR)$(PREFIX)/lib/libtardigrad.a $(DESTDIR)$(PREFIX)/share/man/man1/tardigrad.1

info: ## what the build found
	@echo "CC        $(CC): $$($(CC) --version | head -1)"
	@echo "MPICC     $(MPICC): $$($(MPICC) --showme:version 2>&1 | head -1)"
	@echo "OpenBLAS  $(OPENBLAS_LIBS)"
	@echo "CFLAGS    $(TG_CFLAGS) $(MARCH_FLAGS) $(CFLAGS)"
	@echo "LIBS      $(TG_LIBS)"

clean: ## remove build folders
	rm -rf build build-asan build-ubsan build-valgrind build-clang
