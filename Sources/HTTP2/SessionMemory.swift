import CNghttp2
import Glibc
import Synchronization

/// The memory of one library session: small pieces from malloc, and the four large, mostly untouched blocks
/// in a slot of address space of its own, laid out so that a connection with few streams touches one page of it.
///
/// Of its 16 KiB frame buffer a session without large header blocks touches the first hundred bytes, of the
/// 4 KiB stream map one bucket per stream (for stream 1 at byte 2,528), of the two HPACK rings next to
/// nothing. With malloc these lie across four pages that are all resident, and stay so after reuse.
final class SessionMemory {
    private static let page = 4096
    private static let slotSize = 7 * page
    private static let ringSize = 1024
    /// The byte of the map where stream 1 lies is put at the start of the second page.
    private static let mapOffset = page - 2528
    private static let inflateRingOffset = mapOffset + page
    private static let frameBufferOffset = inflateRingOffset + ringSize

    private let slot: UnsafeMutableRawPointer?
    /// Which blocks the session has asked for; each is given once.
    private var given: Set = []
    /// Bytes that the session holds outside its slot, for the accounting.
    private(set) var allocatedBytes = 0

    private struct Set: OptionSet {
        var rawValue: UInt8
        static let deflateRing = Set(rawValue: 1)
        static let inflateRing = Set(rawValue: 2)
        static let map = Set(rawValue: 4)
        static let frameBuffer = Set(rawValue: 8)
    }

    init() {
        slot = SlotPool.shared.withLock { $0.take() }
    }

    deinit {
        if let slot { SlotPool.shared.withLock { $0.give(slot) } }
    }

    /// The library's view of this memory. It must not outlive the object.
    var allocator: nghttp2_mem {
        nghttp2_mem(
            mem_user_data: Unmanaged.passUnretained(self).toOpaque(),
            malloc: { size, memory in SessionMemory.of(memory).allocate(size, zeroed: false) },
            free: { pointer, memory in SessionMemory.of(memory).release(pointer) },
            calloc: { count, size, memory in SessionMemory.of(memory).allocate(count * size, zeroed: true) },
            realloc: { pointer, size, memory in SessionMemory.of(memory).resize(pointer, size) })
    }

    private static func of(_ pointer: UnsafeMutableRawPointer?) -> SessionMemory {
        Unmanaged<SessionMemory>.fromOpaque(pointer!).takeUnretainedValue()
    }

    private func allocate(_ size: Int, zeroed: Bool) -> UnsafeMutableRawPointer? {
        if let slot {
            if zeroed, size == Self.page, !given.contains(.map) {
                given.insert(.map)
                return slot + Self.mapOffset
            }
            if !zeroed, size == Self.ringSize, !given.contains(.map) {
                if given.insert(.deflateRing).inserted { return slot }
                if given.insert(.inflateRing).inserted { return slot + Self.inflateRingOffset }
            }
            if !zeroed, size >= 4 * Self.page, size <= Self.slotSize - Self.frameBufferOffset,
                given.insert(.frameBuffer).inserted
            {
                return slot + Self.frameBufferOffset
            }
        }
        guard let pointer = zeroed ? calloc(1, max(size, 1)) : malloc(max(size, 1)) else { return nil }
        allocatedBytes += malloc_usable_size(pointer)
        return pointer
    }

    private func release(_ pointer: UnsafeMutableRawPointer?) {
        guard let pointer, !isInSlot(pointer) else { return }
        allocatedBytes -= malloc_usable_size(pointer)
        free(pointer)
    }

    private func resize(_ pointer: UnsafeMutableRawPointer?, _ size: Int) -> UnsafeMutableRawPointer? {
        guard let pointer else { return allocate(size, zeroed: false) }
        let before = isInSlot(pointer) ? 0 : malloc_usable_size(pointer)
        guard before == 0 else {
            guard let grown = realloc(pointer, max(size, 1)) else { return nil }
            allocatedBytes += malloc_usable_size(grown) - before
            return grown
        }
        guard let moved = malloc(max(size, 1)), let slot else { return nil }
        allocatedBytes += malloc_usable_size(moved)
        moved.copyMemory(from: pointer, byteCount: min(size, slot + Self.slotSize - pointer))
        return moved
    }

    private func isInSlot(_ pointer: UnsafeMutableRawPointer) -> Bool {
        guard let slot else { return false }
        return pointer >= slot && pointer < slot + Self.slotSize
    }

    /// The slots of all connections of the process, in chunks of 64. A slot that comes back returns its pages
    /// to the kernel, so that it is zero when it is used again and memory follows the number of connections.
    private struct SlotPool: ~Copyable {
        static let shared = Mutex(SlotPool())
        private static let slotsPerChunk = 64

        private var free: [UInt] = []

        /// nil if the kernel has no address space left: the session then lives on malloc alone.
        mutating func take() -> UnsafeMutableRawPointer? {
            if free.isEmpty {
                let size = Self.slotsPerChunk * SessionMemory.slotSize
                let chunk = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
                guard let chunk, chunk != MAP_FAILED else { return nil }
                // No huge pages: they would make resident what is laid out to stay untouched.
                madvise(chunk, size, MADV_NOHUGEPAGE)
                let base = UInt(bitPattern: chunk)
                for index in (0..<Self.slotsPerChunk).reversed() {
                    free.append(base + UInt(index * SessionMemory.slotSize))
                }
            }
            return UnsafeMutableRawPointer(bitPattern: free.removeLast())
        }

        mutating func give(_ slot: UnsafeMutableRawPointer) {
            guard madvise(slot, SessionMemory.slotSize, MADV_DONTNEED) == 0 else { return }
            free.append(UInt(bitPattern: slot))
        }
    }
}
