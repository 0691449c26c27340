# smpi.mk - the same source over SimGrid's SMPI: thousands of ranks in one process, on a simulated
# cluster (bench/simulate.sh). Included by the Makefile.
PACKAGES_SMPI := libsimgrid-dev
SIMGRID_HOME ?= $(patsubst %/bin/smpicc,%,$(shell command -v smpicc 2>/dev/null))
SMPI := $(if $(SIMGRID_HOME),$(BUILD)/smpi/simulate.so)
# What carries, handles and applies gradients; bench/simulate.c stands in for the rest.
SMPI_SOURCES := $(filter-out src/dist/pause_mpi.c,$(sort $(wildcard $(foreach f,core dist rules optim codecs paths,src/$(f)/*.c)))) src/backend/update.c src/backend/cpu_symmetric.c \
  bench/simulate.c bench/simulate_smpi.c
# What calibrates and checks it: the same driver under mpirun, and benchmarks.
SMPI_BESIDE := $(addprefix $(BUILD)/bench/,simulate simulate_calibrate bench_update bench_step)
SMPI_OBJECTS := $(SMPI_SOURCES:%.c=$(BUILD)/smpi/%.o)
# Clocks and naps are simulated ones.
SMPI_CFLAGS := -isystem $(SIMGRID_HOME)/include/smpi -isystem $(SIMGRID_HOME)/include \
  -Dclock_gettime=simulate_clock -Dnanosleep=simulate_sleep
SMPI_LDFLAGS := -shared -Wl,-z,defs -Wl,--wrap=tg_update_apply \
  $(if $(filter-out /usr,$(SIMGRID_HOME)),-L$(SIMGRID_HOME)/lib -Wl$(comma)-rpath$(comma)$(SIMGRID_HOME)/lib)

.PHONY: smpi deps-smpi simulate
smpi: $(if $(SMPI),$(SMPI) $(SMPI_BESIDE),deps-smpi) ## build the program over SimGrid's SMPI, for simulated clusters
	@$(if $(SMPI),true,command -v smpicc >/dev/null || { echo "make smpi: no smpicc (SIMGRID_HOME)" >&2; exit 1; }; $(MAKE) --no-print-directory SIMGRID_HOME="$$(dirname "$$(dirname "$$(command -v smpicc)")")" smpi)
deps-smpi: ; @launch/deps.sh $(PACKAGES_SMPI)
simulate: smpi ## predict throughput, staleness and the server's load on up to 1,024 ranks
	@bench/simulate.sh $(BUILD)

$(BUILD)/smpi/bench/simulate.o: TG_CFLAGS += -fvisibility=default
$(BUILD)/smpi/bench/simulate_smpi.o: TG_CFLAGS += -fvisibility=default
$(BUILD)/smpi/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(TG_CFLAGS) $(SMPI_CFLAGS) $(MARCH_FLAGS) $(CFLAGS) -MMD -MP -c $< -o $@
$(BUILD)/smpi/simulate.so: $(SMPI_OBJECTS)
	$(call say,LINK,$@)
	$(Q)$(CC) -fopenmp $(CFLAGS) $(LDFLAGS) $(SMPI_LDFLAGS) -o $@ $^ -lsimgrid $(OPENBLAS_LIBS) -lm
$(BUILD)/bench/simulate: $(BUILD)/bench/simulate_real.o
