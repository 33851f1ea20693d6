import EnvoyAPI
import Foundation
import Protobuf
import Store
import XDS

extension AppliedResource {
    /// An applied resource as the store keeps it.
    init(_ held: HeldResource) {
        self.init(
            scope: held.scope.text, typeURL: held.resource.type.typeURL, name: held.resource.name,
            version: held.label ?? "", body: held.wrapped)
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

extension LastGoodFile {
    /// What of a file goes into ``LastGoodFile/content``, as JSON.
    private struct Content: Codable {
        struct Line: Codable {
            var line: Int
            var fileLabel: String?
            /// The wrapped resource.
            var body: Data
        }
        var scope: String
        var lines: [Line]
    }

    init(path: String, scope: Scope, resources: [HeldResource]) throws {
        let lines = resources.map { held in
            var line = 1
            if case .file(_, let written) = held.origin { line = written }
            return Content.Line(line: line, fileLabel: held.fileLabel, body: held.wrapped)
        }
        self.init(path: path, content: try JSONEncoder().encode(Content(scope: scope.text, lines: lines)))
    }

    /// The file as it was.
    /// - Throws: what is wrong with it by the rules of this version of the program.
    func parsed() throws(ResourceProblems) -> ParsedFile {
        guard let content = try? JSONDecoder().decode(Content.self, from: content),
            let scope = Scope(text: content.scope)
        else {
            throw ResourceProblems([
                ResourceProblem(file: path, "its last good state cannot be read back", mend: "mend the file")
            ])
        }
        var reader = ResourceReader(scope: scope, file: path)
        var resources: [HeldResource] = []
        for line in content.lines {
            reader.fileLabel = line.fileLabel
            let wrapper = EnvoyAPI.Resource.descriptor.typeURL
            guard var held = reader.read(typeURL: wrapper, bytes: Array(line.body), at: "the last good state") else {
                throw ResourceProblems(reader.problems)
            }
            held.origin = .file(path: path, line: line.line)
            resources.append(held)
        }
        return ParsedFile(path: path, scope: scope, resources: resources)
    }
}

extension HeldResource {
    /// The resource in an envoy.service.discovery.v3.Resource that says all that is said of it.
    fileprivate var wrapped: Data {
        let arena = Arena()
        let wrapper = arena.make(EnvoyAPI.Resource.self) {
            $0.name = arena(resource.name)
            $0.version = arena(label ?? "")
            ($0.n_aliases, $0.aliases) = arena.strings(resource.aliases)
            if let timeToLive = resource.timeToLive { $0.ttl = arena.duration(timeToLive) }
            $0.resource = arena.any(typeURL: resource.type.typeURL, arena.bytes(resource.body))
        }
        return Data(Protobuf.encode(wrapper))
    }
}

extension ScopedReference {
    var storeKey: AppliedResource.Key {
        AppliedResource.Key(scope: scope.text, typeURL: key.type.typeURL, name: key.name)
    }
}
