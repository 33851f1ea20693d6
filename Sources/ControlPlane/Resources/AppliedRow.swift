import EnvoyAPI
import Foundation
import Protobuf
import Store
import XDS

extension AppliedResource {
    /// An applied resource as the store keeps it.
    init(_ held: HeldResource) {
        let resource = held.resource
        let arena = Arena()
        let wrapper = arena.make(EnvoyAPI.Resource.self) {
            $0.name = arena(resource.name)
            $0.version = arena(held.label ?? "")
            ($0.n_aliases, $0.aliases) = arena.strings(resource.aliases)
            if let timeToLive = resource.timeToLive { $0.ttl = arena.duration(timeToLive) }
            $0.resource = arena.any(typeURL: resource.type.typeURL, arena.bytes(resource.body))
        }
        self.init(
            scope: held.scope.text, typeURL: resource.type.typeURL, name: resource.name, version: held.label ?? "",
            body: Data(Protobuf.encode(wrapper)))
    }

    /// The resource again.
    /// - Throws: what is wrong with it by the rules of this version of the program.
    func held() throws(ResourceProblems) -> HeldResource {
        let path = "stored \(typeURL.split(separator: ".").last ?? "resource") \"\(name)\""
        guard let scope = Scope(text: scope) else {
            throw ResourceProblems([ResourceProblem(path: path, "its scope is \(self.scope)", mend: Scope.mend)])
        }
        var reader = ResourceReader(scope: scope)
        let wrapper = EnvoyAPI.Resource.descriptor.typeURL
        guard let held = reader.read(typeURL: wrapper, bytes: Array(body), at: path) else {
            throw ResourceProblems(reader.problems)
        }
        return held
    }
}

extension ScopedReference {
    var storeKey: AppliedResource.Key {
        AppliedResource.Key(scope: scope.text, typeURL: key.type.typeURL, name: key.name)
    }
}
