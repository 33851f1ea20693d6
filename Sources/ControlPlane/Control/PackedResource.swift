import EnvoyAPI
import Protobuf
import XDS

extension HeldResource {
    /// As the control service takes it: in the wrapper where it has more than its message says.
    public var packed: ApplyRequest.PackedResource {
        let isBare = label == nil && resource.timeToLive == nil && resource.aliases.isEmpty
        guard !isBare else {
            return ApplyRequest.PackedResource(typeURL: resource.type.typeURL, bytes: resource.body)
        }
        let arena = Arena()
        let wrapper = arena.make(EnvoyAPI.Resource.self) {
            $0.name = arena(resource.name)
            $0.version = arena(label ?? "")
            ($0.n_aliases, $0.aliases) = arena.strings(resource.aliases)
            $0.ttl = resource.timeToLive.map { arena.duration($0) }
            $0.resource = arena.any(typeURL: resource.type.typeURL, arena.bytes(resource.body))
        }
        return ApplyRequest.PackedResource(typeURL: EnvoyAPI.Resource.descriptor.typeURL, bytes: encode(wrapper))
    }
}
