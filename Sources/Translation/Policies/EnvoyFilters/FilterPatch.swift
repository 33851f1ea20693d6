import Documents
import EnvoyAPI
import Mesh
import Protobuf

/// One patch of an EnvoyFilter, and whose it is.
struct FilterPatch {
    var object: MeshObject
    var index: Int
    var patch: Istio.EnvoyFilter.Patch

    var path: String { "spec.configPatches[\(index)]" }
}

extension Istio.EnvoyFilter.Target {
    /// What a patch's value is a message of; nil for what no patch is made of here.
    var message: MessageDescriptor? {
        switch self {
        case .listener: Listener.descriptor
        case .filterChain: FilterChain.descriptor
        case .listenerFilter: ListenerFilter.descriptor
        case .networkFilter: NetworkFilter.descriptor
        case .httpFilter: HttpFilter.descriptor
        case .routeConfiguration: RouteConfiguration.descriptor
        case .virtualHost: VirtualHost.descriptor
        case .httpRoute: Route.descriptor
        case .cluster: Cluster.descriptor
        case .extensionConfig, .bootstrap: nil
        }
    }
}

/// What is wrong with EnvoyFilters beyond what their kind says: the messages in them must be Envoy's.
public enum EnvoyFilterCheck {
    /// Errors, with line and path, for patches whose value is no message of Envoy's; warnings for patches that nothing
    /// acts on. Objects of other kinds have none.
    public static func findings(_ object: MeshObject) -> [MeshFinding] {
        guard case .envoyFilter(let filter) = object.body else { return [] }
        let arena = Arena()
        return filter.patches.enumerated().flatMap { index, patch -> [MeshFinding] in
            let path = "spec.configPatches[\(index)]"
            func warning(_ path: String, _ words: String, _ mend: String) -> MeshFinding {
                object.finding(.warning, .unsupportedField, at: path, words, mend: mend)
            }
            guard let message = patch.target.message else {
                return [
                    warning(
                        path + ".applyTo", "nothing acts on patches of \(patch.target.rawValue)",
                        "write the whole filter into the patch, or start proxies with another bootstrap")
                ]
            }
            var findings: [MeshFinding] = []
            if patch.match.proxyVersion != nil || !patch.match.proxyMetadata.isEmpty {
                findings.append(
                    warning(
                        path + ".match.proxy", "proxies of a class share their resources: the patch is not applied",
                        "choose proxies by `workloadSelector`"))
            }
            if patch.target == .cluster, !filter.targets.isEmpty {
                findings.append(
                    warning(
                        "spec.targetRefs", "clusters are shared by all gateways of a namespace: they are not patched",
                        "write `workloadSelector:` with the labels of the gateway's proxies"))
            }
            guard let value = patch.value else { return findings }
            do throws(TextFormatError) {
                _ = try arena.decodeJSON(message, value, types: envoyTypes)
            } catch {
                let place = path + ".patch.value" + (error.path.isEmpty ? "" : "." + error.path)
                findings.append(
                    object.finding(.error, .invalidValue, at: place, error.words, mend: "write a \(message.fullName)"))
            }
            return findings
        }
    }
}

extension Translator {
    /// The patches for proxies of a class, in the order in which they are made: by priority, those of the root namespace
    /// first, the older first. Source: Istio, EnvoyFilter.
    func filterPatches(of proxy: ProxyClass) -> [FilterPatch] {
        patches(mesh.policies(.envoyFilter, selecting: proxy.labels, in: proxy.namespace))
    }

    /// The patches for what all clients of a scope see.
    func filterPatches(for scope: OutboundScope) -> [FilterPatch] {
        let wide = mesh.policies(.envoyFilter, selecting: [:], in: scope.namespace)
        let chosen = scope.choosers.filter { $0.kind == .envoyFilter }.compactMap { mesh.object($0) }
        return patches(wide + chosen)
    }

    private func patches(_ objects: [MeshObject]) -> [FilterPatch] {
        if objects.isEmpty { return [] }
        let root = mesh.config.rootNamespace
        func rank(_ object: MeshObject) -> (Int, Int) {
            guard case .envoyFilter(let filter) = object.body else { return (0, 0) }
            return (filter.priority, object.key.namespace == root ? 0 : 1)
        }
        return objects.sorted { one, other in
            let (first, second) = (rank(one), rank(other))
            return first == second ? one.isOlder(than: other) : first < second
        }.flatMap { object -> [FilterPatch] in
            guard case .envoyFilter(let filter) = object.body else { return [] }
            return filter.patches.enumerated().compactMap { index, patch in
                guard patch.match.proxyVersion == nil, patch.match.proxyMetadata.isEmpty, patch.target.message != nil
                else { return nil }
                return FilterPatch(object: object, index: index, patch: patch)
            }
        }
    }

    /// The message of a patch; nil where it has none, or none that can be read: ``EnvoyFilterCheck`` tells it.
    func value<M: ProtobufMessage>(of patch: FilterPatch, _ type: M.Type = M.self) -> UnsafeMutablePointer<M>? {
        patch.patch.value.flatMap { try? arena.decodeJSON(M.self, $0, types: envoyTypes) }
    }

    // MARK: Merging

    /// A message with what a patch sets set: numbers and texts take the place of others, messages merge, lists grow; or,
    /// if asked, lists take the place of lists.
    func merged<M: ProtobufMessage>(
        _ message: UnsafeMutablePointer<M>, _ patch: UnsafeMutablePointer<M>,
        by operation: Istio.EnvoyFilter.Operation
    ) -> UnsafeMutablePointer<M> {
        let merge = WireMerge(replacesLists: operation == .mergeAndReplaceList)
        let bytes = merge.merged(encode(message), encode(patch), M.descriptor)
        return (try? arena.decode(M.self, from: bytes)) ?? message
    }

    /// Two contents of one type are merged, another type takes the first one's place.
    func merged(
        _ content: UnsafeMutablePointer<ProtobufAny>, _ patch: UnsafeMutablePointer<ProtobufAny>,
        by operation: Istio.EnvoyFilter.Operation
    ) -> UnsafeMutablePointer<ProtobufAny> {
        let url = content.pointee.type_url.string
        guard url == patch.pointee.type_url.string, let descriptor = envoyTypes.descriptor(typeURL: url) else {
            return patch
        }
        let merge = WireMerge(replacesLists: operation == .mergeAndReplaceList)
        let bytes = merge.merged(
            Array(content.pointee.value_bytes), Array(patch.pointee.value_bytes), descriptor)
        guard let message = try? arena.decode(descriptor, from: bytes) else { return patch }
        return arena.any(typeURL: url, arena.bytes(encode(message)))
    }
}

/// Packed messages merged field by field. Two messages one after the other would mean the same, but a message field that
/// is there twice is none that protobuf-c merges rightly.
struct WireMerge {
    private struct Field {
        var number: UInt32
        var whole: Range<Int>
        /// Of a field with a length.
        var content: Range<Int>?
    }

    /// Whether lists that the patch has elements for lose those that they had.
    var replacesLists: Bool

    func merged(_ base: [UInt8], _ patch: [UInt8], _ descriptor: MessageDescriptor) -> [UInt8] {
        let added = Self.fields(patch)
        var result: [UInt8] = []
        var isDone = Set<Int>()
        for field in Self.fields(base) {
            guard let last = added.lastIndex(where: { $0.number == field.number }),
                let type = descriptor.field(number: field.number)
            else {
                result += base[field.whole]
                continue
            }
            if type.isRepeated {
                if !replacesLists { result += base[field.whole] }
                continue
            }
            // What is one value to people (a duration, a number that may be missing) is replaced as one.
            guard case .message(let inner) = type.kind, !inner.fullName.hasPrefix("google.protobuf."),
                let content = field.content, let other = added[last].content
            else { continue }
            let whole = merged(Array(base[content]), Array(patch[other]), inner)
            PackedVirtualHost.append(varint: Int(field.number) << 3 | 2, to: &result)
            PackedVirtualHost.append(varint: whole.count, to: &result)
            result += whole
            isDone.insert(last)
        }
        for (index, field) in added.enumerated() where !isDone.contains(index) { result += patch[field.whole] }
        return result
    }

    /// Of messages that we packed ourselves.
    private static func fields(_ bytes: [UInt8]) -> [Field] {
        var found: [Field] = []
        var place = 0
        func varint() -> Int {
            var (value, shift) = (0, 0)
            while place < bytes.count, shift < 63 {
                let byte = bytes[place]
                place += 1
                value |= Int(byte & 0x7F) << shift
                shift += 7
                if byte < 0x80 { break }
            }
            return value
        }
        while place < bytes.count {
            let start = place
            let tag = varint()
            var content: Range<Int>?
            switch tag & 7 {
            case 0:
                while place < bytes.count, bytes[place] >= 0x80 { place += 1 }
                place += 1
            case 1: place += 8
            case 5: place += 4
            case 2:
                let length = varint()
                content = place..<(place + length)
                place += length
            default: preconditionFailure("a message that was not packed by us")
            }
            found.append(Field(number: UInt32(tag >> 3), whole: start..<place, content: content))
        }
        return found
    }
}
