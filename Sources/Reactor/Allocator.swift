import CLinux

/// What the process's allocator of memory is told. Source: malloc_trim(3), mallopt(3).
public enum Allocator {
    /// Gives memory that was freed back to the system, which the allocator else keeps for later. Others who allocate wait
    /// meanwhile.
    public static func returnFreeMemory() { linux_return_memory() }

    /// Has threads share so many arenas, each of which takes memory of its own: as many as are busy at a time. Before
    /// there are threads.
    public static func limitArenas(to most: Int) { linux_limit_arenas(Int32(clamping: most)) }
}
