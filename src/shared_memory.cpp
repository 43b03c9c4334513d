/*
 * shared_memory.cpp - makes, finds and lays out the shared memory.
 */
#include "shared_memory.hpp"
#include "caught_error.hpp"
#include "settings.hpp"

namespace cs {

Directory *directory;
DeadlockRing *deadlock_ring;
LastWriters *last_writers;
LockOrder *lock_order;
RunCounters *run_counters;

namespace {

/* The number changes with the layout: a library that is replaced may meet the old memory. */
constexpr char kName[] = "concurrency_safe 2";
constexpr char kSizesName[] = "concurrency_safe 2 sizes";

/* What fixes the layout; the settings may change while the memory stays. */
struct Sizes
{
	uint32 directory;
	int deadlocks;
	int orders;
};

struct Header
{
	Sizes sizes;
	pg_atomic_uint64 statistics_reset;
	RunCounters runs;
};

Header *header;
shmem_startup_hook_type former_startup_hook;
bool search_failed;

/* The parts lie one behind the other, each on a cache line of its own. */
struct Layout
{
	Size directory;
	Size deadlocks;
	Size writers;
	Size orders;
	Size end;
};

Layout LayOut(const Sizes &sizes)
{
	Layout layout;

	layout.directory = CACHELINEALIGN(sizeof(Header));
	layout.deadlocks = CACHELINEALIGN(layout.directory + Directory::Bytes(sizes.directory));
	layout.writers = CACHELINEALIGN(layout.deadlocks + DeadlockRing::Bytes(sizes.deadlocks));
	layout.orders = CACHELINEALIGN(layout.writers + LastWriters::Bytes());
	layout.end = CACHELINEALIGN(layout.orders + LockOrder::Bytes(sizes.orders));
	/* The memory may begin anywhere. */
	layout.end += PG_CACHE_LINE_SIZE;
	return layout;
}

Sizes WantedSizes()
{
	return {static_cast<uint32>(directory_size), deadlock_history, lock_order_size};
}

char *Aligned(void *memory)
{
	auto *start = static_cast<char *>(memory);

	return start + (CACHELINEALIGN(start) - reinterpret_cast<uintptr_t>(start));
}

void Initialize(void *memory, const Sizes &sizes)
{
	const Layout layout = LayOut(sizes);
	char *base = Aligned(memory);
	auto *head = reinterpret_cast<Header *>(base);

	head->sizes = sizes;
	pg_atomic_init_u64(&head->statistics_reset, static_cast<uint64>(GetCurrentTimestamp()));
	head->runs.Create();
	Directory::Create(base + layout.directory, sizes.directory);
	DeadlockRing::Create(base + layout.deadlocks, sizes.deadlocks);
	LastWriters::Create(base + layout.writers);
	LockOrder::Create(base + layout.orders, sizes.orders);
}

void use_memory(void *memory)
{
	char *base = Aligned(memory);

	header = reinterpret_cast<Header *>(base);
	run_counters = &header->runs;

	const Layout layout = LayOut(header->sizes);

	deadlock_ring = reinterpret_cast<DeadlockRing *>(base + layout.deadlocks);
	deadlock_ring->register_lock();
	last_writers = reinterpret_cast<LastWriters *>(base + layout.writers);
	last_writers->register_locks();
	lock_order = reinterpret_cast<LockOrder *>(base + layout.orders);
	lock_order->register_lock();
	directory = reinterpret_cast<Directory *>(base + layout.directory);
}

void request()
{
	RequestAddinShmemSpace(LayOut(WantedSizes()).end);
}

void startup()
{
	bool found;

	if (former_startup_hook != nullptr)
		former_startup_hook();
	directory = nullptr;
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);

	void *memory = ShmemInitStruct(kName, LayOut(WantedSizes()).end, &found);

	if (!found)
		Initialize(memory, WantedSizes());
	use_memory(memory);
	LWLockRelease(AddinShmemInitLock);
}

/*
 * What all sessions have to agree on, while the settings may change: the sizes
 * of the memory that was made. As long as none could be made they do not count.
 */
struct MadeSizes
{
	LWLock lock;
	Sizes sizes;
	bool made;
};

MadeSizes *made_sizes;

void initialize_made_sizes(void *memory)
{
	auto *made = static_cast<MadeSizes *>(memory);

	LWLockInitialize(&made->lock, LWLockNewTrancheId());
	made->made = false;
}

void find_named_memory()
{
	static Sizes sizes;
	char name[NAMEDATALEN];

	made_sizes = static_cast<MadeSizes *>(
		named_shared_memory(kSizesName, sizeof(MadeSizes), initialize_made_sizes));
	LWLockRegisterTranche(made_sizes->lock.tranche, "ConcurrencySafeSizes");
	LWLockAcquire(&made_sizes->lock, LW_EXCLUSIVE);
	sizes = made_sizes->made ? made_sizes->sizes : WantedSizes();
	/* The server remembers the size of a name even if there was no memory for it. */
	snprintf(name, sizeof(name), "%s %u %d %d", kName, sizes.directory, sizes.deadlocks,
			 sizes.orders);
	use_memory(named_shared_memory(name, LayOut(sizes).end, [](void *memory) {
		Initialize(memory, sizes);
	}));
	made_sizes->sizes = sizes;
	made_sizes->made = true;
	LWLockRelease(&made_sizes->lock);
}

/*
 * The server may be out of shared memory, which must not keep anybody from
 * locking: hence the subtransaction.
 */
void search_or_warn()
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;

	BeginInternalSubTransaction(nullptr);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		find_named_memory();
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData *error = take_caught_error(context, true);

		RollbackAndReleaseCurrentSubTransaction();
		if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
			ReThrowError(error);
		search_failed = true;
		ereport(WARNING,
				(errcode(error->sqlerrcode),
				 errmsg("names, statistics and checks of keys are not available in this session"),
				 errdetail("%s", error->message)));
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
}

} // namespace

TimestampTz statistics_reset_at()
{
	return static_cast<TimestampTz>(pg_atomic_read_u64(&header->statistics_reset));
}

void reset_statistics()
{
	directory->ResetStatistics([] {
		CHECK_FOR_INTERRUPTS();
	});
	run_counters->Reset();
	pg_atomic_write_u64(&header->statistics_reset, static_cast<uint64>(GetCurrentTimestamp()));
}

void reserve_shared_memory()
{
	call_when_shared_memory_is_requested(request);
	former_startup_hook = shmem_startup_hook;
	shmem_startup_hook = startup;
}

void find_shared_memory()
{
	if (kHasNamedSharedMemory && !search_failed)
		search_or_warn();
}

void require_shared_memory()
{
	attach_shared_memory();
	if (directory == nullptr)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("concurrency_safe has no shared memory"),
						errhint("Add concurrency_safe to shared_preload_libraries and restart the "
								"server.")));
}

} // namespace cs
