import CEnvoyAPI

/// A .proto file of Protos/, as gRPC server reflection serves it.
public struct DefinedFile: Hashable, Sendable {
    private let index: Int32

    private init(index: Int32) {
        self.index = index
    }

    /// Every file, by name.
    public static var all: [DefinedFile] { (0..<Int32(envoy_api_file_count)).map(DefinedFile.init(index:)) }

    /// - Parameter name: the path below Protos/: `envoy/config/cluster/v3/cluster.proto`.
    public init?(named name: String) {
        guard let index = Self.find(name, among: Int(envoy_api_file_count), name: { envoy_api_file($0)?.pointee.name })
        else { return nil }
        self.index = index
    }

    /// The file that defines a message, enum or service, or one of their fields, values or methods.
    /// - Parameter symbol: the full name, without a leading dot: `envoy.config.cluster.v3.Cluster`.
    public init?(defining symbol: String) {
        let symbolCount = Int(envoy_api_symbol_count)
        var found = Self.find(symbol, among: symbolCount, name: { envoy_api_symbol($0)?.pointee.name })
        if found == nil, let dot = symbol.lastIndex(of: ".") {
            found = Self.find(String(symbol[..<dot]), among: symbolCount, name: { envoy_api_symbol($0)?.pointee.name })
        }
        guard let found, let file = envoy_api_symbol(found)?.pointee.file else { return nil }
        index = file
    }

    private var file: EnvoyAPIFile { envoy_api_file(index).pointee }

    /// The path below Protos/.
    public var name: String { String(cString: file.name) }

    /// The serialized `google.protobuf.FileDescriptorProto`, without comments: constant data of the program.
    public var serialized: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: file.bytes, count: Int(file.length)) }

    /// The files that it imports.
    public var dependencies: [DefinedFile] {
        UnsafeBufferPointer(start: file.dependencies, count: Int(file.dependency_count))
            .map { DefinedFile(index: Int32($0)) }
    }

    /// A binary search among names that are sorted by their bytes.
    private static func find(
        _ wanted: String, among count: Int, name: (Int32) -> UnsafePointer<CChar>?
    ) -> Int32? {
        // C would see such a name as a shorter one.
        guard !wanted.utf8.contains(0) else { return nil }
        var range = 0..<Int32(count)
        while !range.isEmpty {
            let middle = range.lowerBound + Int32(range.count / 2)
            guard let candidate = name(middle) else { return nil }
            let order = compare(wanted.utf8, candidate)
            if order == 0 { return middle }
            range = order < 0 ? range.lowerBound..<middle : (middle + 1)..<range.upperBound
        }
        return nil
    }

    private static func compare(_ left: String.UTF8View, _ right: UnsafePointer<CChar>) -> Int {
        var position = 0
        for byte in left {
            let other = UInt8(bitPattern: right[position])
            if byte != other { return byte < other ? -1 : 1 }
            position += 1
        }
        return right[position] == 0 ? 0 : -1
    }
}
