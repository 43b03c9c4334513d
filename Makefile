# make && make install, then CREATE EXTENSION concurrency_safe.
# make installcheck runs the regression, isolation and TAP tests; scripts/test.sh
# does that and more against private servers.

EXTENSION = concurrency_safe
MODULE_big = concurrency_safe
DATA = $(wildcard sql/concurrency_safe--*.sql)
DOCS = README.md
OBJS = $(patsubst %.cpp,%.o,$(sort $(wildcard src/*.cpp)))

REGRESS = $(patsubst test/sql/%.sql,%,$(sort $(wildcard test/sql/*.sql)))
REGRESS_OPTS = --inputdir=test --load-extension=$(EXTENSION)
ISOLATION = $(patsubst test/specs/%.spec,%,$(sort $(wildcard test/specs/*.spec)))
ISOLATION_OPTS = --inputdir=test --outputdir=. --load-extension=$(EXTENSION)
TAP_TESTS = 1
PROVE_TESTS = test/t/*.pl

# No exceptions, no RTTI and no C++ runtime: an error of the server leaves a
# function by longjmp, which must find nothing to unwind.
CXX_LANGUAGE = -std=c++20 -fno-exceptions -fno-rtti -fno-threadsafe-statics -Wno-register
# No procedure linkage table: the functions we call are the server's, bound at load time anyway.
PG_CXXFLAGS = $(CXX_LANGUAGE) -fvisibility=hidden -fno-plt -Wall -Wextra -Wshadow -Wconversion

PG_CONFIG ?= pg_config
# The server's headers are not ours to warn about.
PG_CPPFLAGS = -isystem $(shell $(PG_CONFIG) --includedir-server)
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# The bitcode for JIT inlining is compiled by clang, which gets no PG_CXXFLAGS.
BITCODE_CXXFLAGS += $(CXX_LANGUAGE) -Wno-unused-command-line-argument

# A lock passes through half a dozen small functions in as many files: inlined
# across files, that costs about a third less. Only where one compiler both
# compiles and links. "make LTO=" does without.
LTO = $(if $(findstring clang,$(CC) $(CXX)),,$(if $(and $(findstring gcc,$(CC)),$(findstring g++,$(CXX))),-flto))
$(OBJS): CXXFLAGS += $(LTO)
$(shlib): SHLIB_LINK += $(LTO)

$(OBJS): $(wildcard src/*.hpp)

# The distribution for PGXN, of what is committed; .gitattributes says what is left out.
DIST = $(EXTENSION)-$(shell sed -n 's/^  "version": "\(.*\)",$$/\1/p' META.json)
.PHONY: dist
dist:
	git archive --format=zip --prefix=$(DIST)/ --output=$(DIST).zip HEAD
