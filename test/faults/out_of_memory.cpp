/*
 * out_of_memory.cpp - makes one allocation of one session fail, whichever it is.
 *
 * The server loads this file twice, as one: LD_PRELOAD puts our malloc before
 * that of libc, and shared_preload_libraries has _PG_init called, which replaces
 * the functions that allocate in a memory context. So both what the server
 * serves from memory that it has, and what it asks the system for, counts.
 *
 * Orders come through a mapped file, not through SQL, so that the session under
 * test does nothing but run the statement. Nothing here is for production.
 */
#include <dlfcn.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

extern "C" {
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/memutils.h"

/* pg_ctl and initdb have this library as well, and not these. */
#pragma weak ErrorContext
#pragma weak TopMemoryContext
#pragma weak MyProcPid
#pragma weak InterruptHoldoffCount

PG_MODULE_MAGIC;

__attribute__((visibility("default"))) void _PG_init(void);
__attribute__((visibility("default"))) void *malloc(size_t size) noexcept;
__attribute__((visibility("default"))) void *calloc(size_t count, size_t size) noexcept;
__attribute__((visibility("default"))) void *realloc(void *pointer, size_t size) noexcept;

/* libc's own. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *pointer, size_t size);
}

namespace {

/* Of so many allocations it is written down whether they are ours. */
constexpr int64_t kMostRecorded = 1 << 20;

/* The mapped file; test/faults/out_of_memory.py has the same. */
struct Control
{
	int32_t pid;      /* of the session under test; 0 = none */
	int32_t lasting;  /* after the first failure all allocations of ours fail */
	int32_t record;   /* fill in ours[] */
	uint32_t holdoff; /* the least number of times that interrupts were held off */
	int32_t trace;    /* the stack of the first failure goes to the log of the server */
	int64_t fail_at;  /* the number of the allocation to fail, from 1 on; 0 = none */
	int64_t seen;
	int64_t failed;
	int32_t in_library;  /* the first failure had code of the extension on the stack */
	int32_t in_function; /* and even one of its SQL functions */
	uint8_t ours[kMostRecorded];
};

volatile Control *control;

/* Set while we allocate ourselves. */
bool busy;

/* Where the code of the extension lies, once it is loaded. */
struct Range
{
	uintptr_t start;
	uintptr_t end;
};

int find_library(dl_phdr_info *info, [[maybe_unused]] size_t size, void *range)
{
	if (strstr(info->dlpi_name, "/concurrency_safe.so") == nullptr)
		return 0;
	for (int i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_LOAD && (info->dlpi_phdr[i].p_flags & PF_X) != 0)
		{
			const uintptr_t start = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;

			*static_cast<Range *>(range) = {start, start + info->dlpi_phdr[i].p_memsz};
		}
	return 1;
}

/* Is the address in an exported function whose name begins so? */
bool IsNamed(void *at, const char *prefix)
{
	Dl_info info;

	return dladdr(at, &info) != 0 && info.dli_sname != nullptr &&
		   strncmp(info.dli_sname, prefix, strlen(prefix)) == 0;
}

/*
 * Is code of the extension among what led here, and even one of its SQL functions?
 * A hook that has called what it stands before, "standard_...", does not count.
 */
bool IsInLibrary(bool only_functions = false)
{
	void *frames[256];
	Range range = {};

	busy = true;
	dl_iterate_phdr(find_library, &range);

	const int depth = range.end == 0 ? 0 : backtrace(frames, 256);

	busy = false;
	for (int i = 0; i < depth; i++)
	{
		const auto at = reinterpret_cast<uintptr_t>(frames[i]);

		if (at >= range.start && at < range.end && i > 0 && !IsNamed(frames[i - 1], "standard_") &&
			(!only_functions || IsNamed(frames[i], "cs_")))
			return true;
	}
	return false;
}

/* With each failure the server lists all memory contexts there, which nobody reads. */
void CloseStandardError()
{
	static bool closed;
	const int null = closed ? -1 : open("/dev/null", O_WRONLY | O_CLOEXEC);

	closed = true;
	if (null >= 0)
		dup2(null, STDERR_FILENO);
}

/* Written without allocating. */
void Trace()
{
	void *frames[256];

	backtrace_symbols_fd(frames, backtrace(frames, 256), STDERR_FILENO);
}

bool FailsNow()
{
	control->failed = control->failed + 1;
	if (control->trace != 0)
		Trace();
	else
		CloseStandardError();
	return true;
}

/* Counts one allocation. Does it fail? */
bool Fails()
{
	if (control == nullptr || busy || control->pid == 0 || control->pid != MyProcPid)
		return false;

	const int64_t number = control->seen + 1;

	control->seen = number;
	control->holdoff = Min(control->holdoff, InterruptHoldoffCount);

	if (control->record != 0 && number <= kMostRecorded)
		control->ours[number - 1] = IsInLibrary();
	if (control->fail_at == 0 || number < control->fail_at)
		return false;
	if (number == control->fail_at)
	{
		control->in_library = IsInLibrary();
		control->in_function = IsInLibrary(true);
		return FailsNow();
	}
	return control->lasting != 0 && IsInLibrary() && FailsNow();
}

/* The dynamic linker has its own ways of failing, which are not the server's. */
bool FailsFor(void *caller)
{
	Dl_info info;

	if (control == nullptr || busy || control->pid == 0 || control->pid != MyProcPid)
		return false;
	if (dladdr(caller, &info) != 0 &&
		reinterpret_cast<uintptr_t>(info.dli_fbase) == getauxval(AT_BASE))
		return false;
	return Fails();
}

decltype(MemoryContextMethods::alloc) former_alloc;
decltype(MemoryContextMethods::realloc) former_realloc;

/*
 * To report an error and to abort a transaction the server has memory of its own in any case.
 * Where its statistics of tables have none for "PgStat Shared Ref", PostgreSQL 15 leaves a
 * half-made entry, and crashes at the end of the session: a fault of its own, that
 * any index scan can meet.
 */
bool FailsIn(MemoryContext context)
{
	for (const char *spared : {"TransactionAbortContext", "PgStat Shared Ref"})
		if (strcmp(context->name, spared) == 0)
			return false;
	return context != ErrorContext && Fails();
}

/* PG 17 added flags, and leaves the error to the function. */
template <class... Flags> void *Failure(MemoryContext context, Size size, Flags... flags)
{
	if constexpr (sizeof...(flags) == 0)
		return nullptr;
	else
		return MemoryContextAllocationFailure(context, size, flags...);
}

template <class... Flags> void *allocate(MemoryContext context, Size size, Flags... flags)
{
	return FailsIn(context) ? Failure(context, size, flags...)
							: former_alloc(context, size, flags...);
}

#if PG_VERSION_NUM >= 160000
template <class... Flags> void *reallocate(void *pointer, Size size, Flags... flags)
{
	MemoryContext context = GetMemoryChunkContext(pointer);

	return FailsIn(context) ? Failure(context, size, flags...)
							: former_realloc(pointer, size, flags...);
}
#else
void *reallocate(MemoryContext context, void *pointer, Size size)
{
	return FailsIn(context) ? nullptr : former_realloc(context, pointer, size);
}
#endif

/* All contexts but a few special ones are of one kind, and share its functions. */
void replace_methods()
{
	auto *methods = const_cast<MemoryContextMethods *>(TopMemoryContext->methods);
	const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
	const uintptr_t start = reinterpret_cast<uintptr_t>(methods) & ~(page - 1);
	const uintptr_t end = reinterpret_cast<uintptr_t>(methods + 1);

	if (mprotect(reinterpret_cast<void *>(start), end - start, PROT_READ | PROT_WRITE) != 0)
		elog(FATAL, "could not make the methods of memory contexts writable: %m");
	former_alloc = methods->alloc;
	former_realloc = methods->realloc;
	methods->alloc = allocate;
	methods->realloc = reallocate;
}

void map_control()
{
	const char *path = getenv("CS_OUT_OF_MEMORY");
	const int file = path == nullptr ? -1 : open(path, O_RDWR | O_CLOEXEC);
	void *memory =
		file < 0 ? MAP_FAILED
				 : mmap(nullptr, sizeof(Control), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);

	if (memory == MAP_FAILED)
		elog(FATAL, "could not map the file of CS_OUT_OF_MEMORY: %m");
	close(file);
	control = static_cast<Control *>(memory);
}

} // namespace

void _PG_init(void)
{
	void *frame;

	backtrace(&frame, 1); /* its first call loads a library */
	replace_methods();
	map_control();
}

void *malloc(size_t size) noexcept
{
	return FailsFor(__builtin_return_address(0)) ? nullptr : __libc_malloc(size);
}

void *calloc(size_t count, size_t size) noexcept
{
	return FailsFor(__builtin_return_address(0)) ? nullptr : __libc_calloc(count, size);
}

void *realloc(void *pointer, size_t size) noexcept
{
	return FailsFor(__builtin_return_address(0)) ? nullptr : __libc_realloc(pointer, size);
}
