import CLinux

/// The process's allocator of memory.
public enum Allocator {
    /// Gives memory that was freed back to the system, which the allocator else keeps for later. Others who allocate wait
    /// meanwhile. Source: malloc_trim(3).
    public static func returnFreeMemory() { linux_return_memory() }
}
