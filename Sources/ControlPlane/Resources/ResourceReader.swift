import Documents
import Protobuf
import XDS

import var EnvoyAPI.envoyTypes

/// Makes checked, packed resources of what users write: parts of a document, or messages in an `Any`.
struct ResourceReader {
    let scope: Scope
    /// nil for what comes through the control service.
    var file: String?
    /// `version_info` of the document.
    var fileLabel: String?
    /// The version of every resource that has none of its own.
    var givenLabel: String?
    private(set) var problems: [ResourceProblem] = []
    private var wrapper: MessageDescriptor { Self.wrapperDescriptor }

    private static let wrapperDescriptor: MessageDescriptor = {
        guard let descriptor = envoyTypes["envoy.service.discovery.v3.Resource"] else {
            preconditionFailure("no message for envoy.service.discovery.v3.Resource")
        }
        return descriptor
    }()

    init(scope: Scope, file: String? = nil) {
        self.scope = scope
        self.file = file
    }

    /// What envoy.service.discovery.v3.Resource says around a resource.
    private struct Wrapping {
        var name = ""
        var label: String?
        var timeToLive: Duration?
        var aliases: [String] = []
    }

    // MARK: From documents

    /// Reads one element of `resources:`, or a document that is a resource.
    /// - Parameter path: where it is: `resources[3]`, or empty.
    /// - Returns: nil after noting what is wrong with it.
    mutating func read(_ node: DocumentNode, at path: String) -> HeldResource? {
        let arena = Arena()
        do throws(ResourceProblem) {
            guard case .mapping(let members, let position) = node else {
                throw problem(node.position, path, "a resource is a mapping", mend: "write \"@type\": and its fields")
            }
            guard let type = members.first(where: { $0.key.text == "@type" }) else {
                throw problem(
                    position, path, "a resource without \"@type\"",
                    mend: "add \"@type\": type.googleapis.com/ and the full name of its type")
            }
            guard let url = type.value.text, let descriptor = envoyTypes.descriptor(typeURL: url) else {
                // The decoder of `Any` knows which name is near.
                throw notServed(type.value, at: path, arena)
            }
            let rest = DocumentNode.mapping(members.filter { $0.key.text != "@type" }, at: position)
            let message = try decode(descriptor, from: rest, at: path, arena)
            guard descriptor == wrapper else {
                return finish(message, Wrapping(), node: rest, at: path)
            }
            let (wrapping, content) = try unwrap(message, at: path, arena)
            return finish(content, wrapping, node: rest["resource"] ?? rest, at: join(path, "resource"))
        } catch {
            var problem = error
            if problem.position == nil { problem.position = node.position }
            note(problem)
            return nil
        }
    }

    private func decode(
        _ descriptor: MessageDescriptor, from node: DocumentNode, at path: String, _ arena: Arena
    ) throws(ResourceProblem) -> DynamicMessage {
        do {
            return try arena.decode(descriptor, from: node, types: envoyTypes, file: file, path: path)
        } catch {
            throw ResourceProblem(error)
        }
    }

    private func notServed(_ type: DocumentNode, at path: String, _ arena: Arena) -> ResourceProblem {
        guard let any = envoyTypes["google.protobuf.Any"] else { preconditionFailure("no message for Any") }
        let key = DocumentScalar("@type", .quoted, at: type.position)
        let node = DocumentNode.mapping([DocumentNode.Member(key: key, value: type)], at: type.position)
        do {
            _ = try arena.decode(any, from: node, types: envoyTypes, file: file, path: path)
            return problem(type.position, path, "\"@type\" is empty", mend: Self.typesMend)
        } catch {
            return ResourceProblem(error)
        }
    }

    /// Reads a document that is an object of Kubernetes.
    /// - Returns: nothing after noting what is wrong with it.
    mutating func readKubernetes(_ node: DocumentNode) -> [HeldResource] {
        do throws(KubernetesSecret.Fault) {
            let arena = Arena()
            return try KubernetesSecret(node).resources.compactMap { made in
                guard let message = try? arena.decode(Self.secretDescriptor, from: made.resource.body) else {
                    return nil
                }
                return finish(message, Wrapping(), bytes: made.resource.body, node: node, at: made.path)
            }
        } catch {
            note(problem(error.position, error.path, error.problem, mend: error.mend))
            return []
        }
    }

    private static let secretDescriptor: MessageDescriptor = {
        guard let descriptor = envoyTypes.descriptor(typeURL: ResourceType.secret.typeURL) else {
            preconditionFailure("no message for secrets")
        }
        return descriptor
    }()

    // MARK: From messages

    /// Reads one resource as a client sends it.
    mutating func read(typeURL: String, bytes: [UInt8], at path: String) -> HeldResource? {
        let arena = Arena()
        do throws(ResourceProblem) {
            guard let descriptor = envoyTypes.descriptor(typeURL: typeURL) else {
                throw problem(nil, path, "`\(typeURL)` names no type that is known here", mend: Self.typesMend)
            }
            let message = try decode(descriptor, from: bytes, at: path, arena)
            guard descriptor == wrapper else { return finish(message, Wrapping(), bytes: bytes, at: path) }
            let (wrapping, content) = try unwrap(message, at: path, arena)
            return finish(content, wrapping, at: join(path, "resource"))
        } catch {
            note(error)
            return nil
        }
    }

    private func decode(
        _ descriptor: MessageDescriptor, from bytes: [UInt8], at path: String, _ arena: Arena
    ) throws(ResourceProblem) -> DynamicMessage {
        do {
            return try arena.decode(descriptor, from: bytes, types: envoyTypes)
        } catch {
            throw ResourceProblem(error, path: path)
        }
    }

    // MARK: The wrapper

    private func unwrap(
        _ message: DynamicMessage, at path: String, _ arena: Arena
    ) throws(ResourceProblem) -> (Wrapping, DynamicMessage) {
        for field in ["resource_name", "cache_control", "metadata"] where message.has(field) {
            throw problem(nil, join(path, field), "is not supported in a wrapped resource", mend: "remove it")
        }
        guard let any = message.message("resource"), let url = any.string("type_url"),
            let descriptor = envoyTypes.descriptor(typeURL: url)
        else {
            throw problem(nil, join(path, "resource"), "the wrapper is empty", mend: "put the resource into it")
        }
        var wrapping = Wrapping()
        wrapping.name = message.string("name") ?? ""
        wrapping.label = message.string("version").flatMap { $0.isEmpty ? nil : $0 }
        wrapping.aliases = message.strings("aliases")
        if let ttl = message.message("ttl") {
            wrapping.timeToLive = .seconds(ttl.integer("seconds") ?? 0) + .nanoseconds(ttl.integer("nanos") ?? 0)
        }
        return (wrapping, try decode(descriptor, from: any.bytes("value") ?? [], at: join(path, "resource"), arena))
    }

    // MARK: Checks

    /// Checks a decoded resource and packs it.
    private mutating func finish(
        _ message: DynamicMessage, _ wrapping: Wrapping, bytes: [UInt8]? = nil, node: DocumentNode? = nil,
        at path: String
    ) -> HeldResource? {
        guard let type = ResourceType(typeURL: message.descriptor.typeURL) else {
            note(
                problem(
                    node?.position, path, "\(message.descriptor.fullName) is no type of resource that is served",
                    mend: Self.typesMend))
            return nil
        }
        let before = problems.count
        let nameField = type == .endpoints ? "cluster_name" : "name"
        let name = message.string(nameField) ?? ""
        checkNames(name, nameField, wrapping, node, path)
        var collection = ReferenceCollection()
        var found: [Violation] = []
        do {
            try walk(message, types: envoyTypes) { place, part in
                collection.visit(part, at: place)
                if found.count < ResourceProblems.limit { found += violations(in: part, at: place) }
            }
        } catch {
            note(ResourceProblem(error, path: path))
        }
        // A missing name was told above.
        for violation in found where violation.path != nameField || !name.isEmpty {
            let place = join(path, violation.path)
            note(problem(node?.position(of: violation.path), place, violation.problem, mend: violation.mend))
        }
        let body = bytes ?? encode(message)
        if type == .secret, let fault = secretProblem(in: body) {
            let position = node?.position(of: fault.path)
            note(problem(position, join(path, fault.path), fault.problem, mend: fault.mend))
        }
        guard problems.count == before else { return nil }
        if type == .virtualHost, let slash = name.lastIndex(of: "/") {
            // On demand, a virtual host is asked for as ROUTE-CONFIGURATION/HOST. Source: Envoy, VHDS.
            collection.add(.route, String(name[..<slash]), .owner, "name")
        }
        var references = collection.references
        if let node {
            for index in references.indices {
                references[index].line = node.position(of: references[index].path).line
            }
        }
        let endpoints = references.filter { type == .cluster && $0.target.type == .endpoints }.map(\.target)
        let origin: ResourceOrigin = file.map { .file(path: $0, line: node?.position.line ?? 1) } ?? .applied
        let label = wrapping.label ?? givenLabel
        let resource = Resource(
            type, name: name, body: body, version: label,
            timeToLive: wrapping.timeToLive, aliases: wrapping.aliases, dependencies: endpoints,
            origin: origin.description)
        return HeldResource(
            scope: scope, origin: origin, resource: resource, label: label, fileLabel: fileLabel,
            references: references)
    }

    private mutating func checkNames(
        _ name: String, _ field: String, _ wrapping: Wrapping, _ node: DocumentNode?, _ path: String
    ) {
        let position = node?.position(of: field)
        func isRefused(_ name: String) -> Bool { name.isEmpty || name == "*" || name.utf8.contains(0) }
        if isRefused(name) {
            let what = name.isEmpty ? "a resource without a name" : "\(name.debugDescription) is not allowed as a name"
            note(problem(position, join(path, field), what, mend: "give it a name that is not empty and not \"*\""))
        }
        if !wrapping.name.isEmpty && wrapping.name != name {
            note(
                problem(
                    position, join(path, field),
                    "the resource is named \"\(name)\", and the wrapper around it \"\(wrapping.name)\"",
                    mend: "give both the same name"))
        }
        if wrapping.aliases.contains(where: isRefused) || Set(wrapping.aliases + [name]).count <= wrapping.aliases.count
        {
            note(problem(position, path, "an alias that is empty, \"*\", or given twice", mend: "correct the aliases"))
        }
        if let timeToLive = wrapping.timeToLive, timeToLive < .milliseconds(100) {
            note(problem(position, path, "a ttl under 0.1s", mend: "write 0.1s or more, or none"))
        }
        if let label = wrapping.label, let mend = versionMend(label) {
            note(problem(position, path, "a version that is not fit to print", mend: mend))
        }
    }

    private func problem(
        _ position: SourcePosition?, _ path: String, _ words: String, mend: String
    ) -> ResourceProblem {
        ResourceProblem(file: file, position: position, path: path, words, mend: mend)
    }

    mutating func note(_ problem: ResourceProblem) {
        problems.append(problem)
    }

    private static let typesMend =
        "write one of "
        + ResourceType.all.map { String($0.typeURL.drop { $0 != "/" }.dropFirst()) }.joined(separator: ", ")
        + " after type.googleapis.com/"
}

/// What is wrong with a version that a user gives.
/// - Returns: nil if nothing.
func versionMend(_ version: String) -> String? {
    let isFit =
        version.utf8.count <= 256 && version.unicodeScalars.allSatisfy { $0.value >= 0x20 && $0.value != 0x7F }
    return isFit ? nil : "write at most 256 bytes without control characters"
}

extension DocumentNode {
    /// Where a field is, given by a path of the decoded message: `filters[0].typed_config.stat_prefix`. Of a field that
    /// is not written, the place of what should hold it.
    func position(of path: String) -> SourcePosition {
        var (node, rest) = (self, path[...])
        while !rest.isEmpty {
            if rest.hasPrefix(".") { rest.removeFirst() }
            let next: DocumentNode?
            if rest.hasPrefix("[\"") {
                let key = rest.dropFirst(2)
                let end = key.firstRange(of: "\"]")?.lowerBound ?? key.endIndex
                next = node[String(key[..<end])]
                rest = key[end...].dropFirst(2)
            } else if rest.hasPrefix("[") {
                let digits = rest.dropFirst().prefix { $0 != "]" }
                let elements = node.elements ?? []
                next = Int(digits).flatMap { elements.indices.contains($0) ? elements[$0] : nil }
                rest = rest.dropFirst(digits.count + 2)
            } else {
                let name = rest.prefix { $0 != "." && $0 != "[" }
                next = node.member(named: name)
                rest = rest.dropFirst(name.count)
            }
            guard let next else { break }
            node = next
        }
        return node.position
    }

    /// In either spelling.
    private func member(named name: Substring) -> DocumentNode? {
        guard let members else { return nil }
        let bare = name.filter { $0 != "_" }.lowercased()
        return members.first { $0.key.text == name }?.value
            ?? members.first { $0.key.text.filter { $0 != "_" }.lowercased() == bare }?.value
    }
}
