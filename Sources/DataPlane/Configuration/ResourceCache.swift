import Glibc
import XDS

/// The last good resources on disk, to start from when the control plane is away. Secrets are never in it.
///
/// One file, replaced as a whole, for its owner alone: `MTRC`, a version, the node's id, the resources, and a checksum.
struct ResourceCache: Sendable {
    struct Entry: Equatable, Sendable {
        var type: ResourceType
        var resource: HeldResource
    }

    /// Types that are kept, in the order in which they are served.
    static let types: [ResourceType] = [.cluster, .endpoints, .listener, .route]
    /// Bytes of the largest file that is written or read.
    static let longest = 64 << 20

    private static let magic = Array("MTRC".utf8) + [1]

    let path: String
    /// Another proxy's resources are not ours.
    let nodeID: String

    init(directory: String, nodeID: String) {
        path = directory + "/resources"
        self.nodeID = nodeID
    }

    /// What is there; empty if there is nothing, or it is damaged or another's.
    func read() -> [Entry] {
        guard let bytes = try? SmallFile.read(path, limit: Self.longest) else { return [] }
        return Self.decode(bytes, nodeID: nodeID) ?? []
    }

    /// - Returns: why it is not written; nil: it is.
    func write(_ entries: [Entry]) -> String? {
        let bytes = Self.encode(entries, nodeID: nodeID)
        guard bytes.count <= Self.longest else {
            return "\(bytes.count) bytes are more than the \(Self.longest) that it may have"
        }
        return SmallFile.replace(path, with: bytes) ? nil : String(cString: strerror(errno))
    }

    static func encode(_ entries: [Entry], nodeID: String) -> [UInt8] {
        var bytes = magic
        func append(_ part: some Collection<UInt8>) {
            withUnsafeBytes(of: UInt32(part.count).littleEndian) { bytes += $0 }
            bytes += part
        }
        append(nodeID.utf8)
        for entry in entries where types.contains(entry.type) {
            append(entry.type.shortName.utf8)
            append(entry.resource.name.utf8)
            append(entry.resource.version.utf8)
            append(entry.resource.body)
        }
        withUnsafeBytes(of: checksum(bytes[...]).littleEndian) { bytes += $0 }
        return bytes
    }

    /// - Returns: nil if it is damaged, or another node's.
    static func decode(_ bytes: [UInt8], nodeID: String) -> [Entry]? {
        guard bytes.starts(with: magic), bytes.count >= magic.count + 8 else { return nil }
        let end = bytes.count - 8
        let sum = bytes[end...].reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        guard sum == checksum(bytes[..<end]) else { return nil }
        var place = magic.count
        func next() -> ArraySlice<UInt8>? {
            guard place + 4 <= end else { return nil }
            let count = Int(bytes[place..<place + 4].reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) })
            guard count <= end - place - 4 else { return nil }
            defer { place += 4 + count }
            return bytes[place + 4..<place + 4 + count]
        }
        guard let node = next(), Array(node) == Array(nodeID.utf8) else { return nil }
        var entries: [Entry] = []
        while place < end {
            guard let type = next().flatMap({ ResourceType(shortName: String(decoding: $0, as: UTF8.self)) }),
                types.contains(type), let name = next(), let version = next(), let body = next()
            else { return nil }
            let resource = HeldResource(
                name: String(decoding: name, as: UTF8.self), version: String(decoding: version, as: UTF8.self),
                body: Array(body))
            entries.append(Entry(type: type, resource: resource))
        }
        return entries
    }

    /// FNV-1a: against torn and rotten files, not against whoever may write here.
    private static func checksum(_ bytes: ArraySlice<UInt8>) -> UInt64 {
        bytes.withUnsafeBufferPointer { buffer in
            var hash: UInt64 = 0xcbf2_9ce4_8422_2325
            for byte in buffer { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
            return hash
        }
    }
}
