import Documents
import Protobuf
import XDS

/// What one text may cost.
public struct ResourceLimits: Hashable, Sendable {
    /// Bytes of one file.
    public var fileBytes: Int
    /// Resources of one file.
    public var fileResources: Int
    /// Resources of all files and of everything that was applied.
    public var resources: Int
    /// Files below the directory.
    public var files: Int

    public init(
        fileBytes: Int = 64 << 20, fileResources: Int = 100_000, resources: Int = 1_000_000, files: Int = 100_000
    ) {
        self.fileBytes = fileBytes
        self.fileResources = fileResources
        self.resources = resources
        self.files = files
    }

    /// 64 MiB and 100,000 resources each file, a million resources in all, 100,000 files.
    public static let standard = ResourceLimits()
}

/// What a file of resources says.
public struct ParsedFile: Sendable {
    public var path: String
    public var scope: Scope
    public var resources: [HeldResource]

    public init(path: String, scope: Scope, resources: [HeldResource]) {
        self.path = path
        self.scope = scope
        self.resources = resources
    }

    /// Reads a file's content: YAML or, where the path ends in `.json`, JSON. A document is a discovery response as
    /// Envoy reads it from a file, a single resource with `@type`, or a TLS `Secret` of Kubernetes; a YAML text may have
    /// several.
    ///
    /// `version_info` is the version that state-of-the-world clients see of the types in the file, where nothing else
    /// has a say in them; each resource's own version is a hash of its bytes all the same.
    /// - Throws: everything that is wrong with it, up to ``ResourceProblems/limit``.
    public init(
        _ bytes: [UInt8], path: String, scope: Scope, limits: ResourceLimits = .standard
    ) throws(ResourceProblems) {
        guard bytes.count <= limits.fileBytes else {
            throw ResourceProblems([
                ResourceProblem(
                    file: path, "the file has \(bytes.count) bytes, \(limits.fileBytes) are allowed",
                    mend: "split it into several")
            ])
        }
        let documents: [DocumentNode]
        do {
            documents = try Self.documents(in: bytes, path: path, limits)
        } catch {
            throw ResourceProblems([ResourceProblem(error)])
        }
        var reader = ResourceReader(scope: scope, file: path)
        var resources: [HeldResource] = []
        for document in documents {
            guard reader.problems.count < ResourceProblems.limit else { break }
            reader.readDocument(document, into: &resources, limit: limits.fileResources)
        }
        reader.noteDuplicates(in: resources)
        guard reader.problems.isEmpty else { throw ResourceProblems(reader.problems) }
        self.init(path: path, scope: scope, resources: resources)
    }

    private static func documents(
        in bytes: [UInt8], path: String, _ limits: ResourceLimits
    ) throws(TextFormatError) -> [DocumentNode] {
        let cost = TextLimits(bytes: limits.fileBytes, nodes: 4_000_000)
        if path.hasSuffix(".json") {
            return [try DocumentNode.parseJSON(bytes: bytes, file: path, limits: cost)]
        }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw TextFormatError(
                file: path, position: nil, path: "", problem: .syntax("the text is not UTF-8"))
        }
        return try DocumentNode.parseYAML(text, file: path, limits: cost)
    }
}

extension ResourceReader {
    /// Reads a whole document.
    fileprivate mutating func readDocument(_ document: DocumentNode, into resources: inout [HeldResource], limit: Int) {
        guard let members = document.members else {
            refuse(document.position, "", "a document is a mapping", mend: "put the list under `resources:`")
            return
        }
        fileLabel = nil
        if document["@type"] != nil {
            if let resource = read(document, at: "") { resources.append(resource) }
            return
        }
        if KubernetesSecret.isMeant(by: document) {
            resources += readKubernetes(document)
            return
        }
        var elements: [DocumentNode] = []
        var typeURL: DocumentScalar?
        for member in members where !member.value.isNull {
            switch member.key.text {
            case "resources":
                guard let list = member.value.elements else {
                    refuse(member.value.position, "resources", "expected a list", mend: "begin each resource with `- `")
                    return
                }
                elements = list
            case "version_info", "versionInfo":
                fileLabel = member.value.text.flatMap { $0.isEmpty ? nil : $0 }
                if let label = fileLabel, let mend = versionMend(label) {
                    refuse(member.value.position, member.key.text, "not fit to print", mend: mend)
                }
            case "type_url", "typeUrl":
                if case .scalar(let scalar) = member.value { typeURL = scalar }
            case "nonce", "canary", "control_plane", "controlPlane":
                break  // They mean nothing in a file: Envoy takes no notice of them either.
            default:
                refuse(
                    member.key.position, "", "a discovery response has no field `\(member.key.text)` here",
                    mend: "put resources under `resources:`, or begin a single one with \"@type\":")
            }
        }
        guard resources.count + elements.count <= limit else {
            refuse(document.position, "resources", "more than \(limit) resources", mend: "split the file into several")
            return
        }
        for (index, element) in elements.enumerated() {
            guard problems.count < ResourceProblems.limit else { return }
            guard let resource = read(element, at: "resources[\(index)]") else { continue }
            if let typeURL, typeURL.text != resource.resource.type.typeURL {
                refuse(
                    element.position, "resources[\(index)]", "is not of the type that type_url says",
                    mend: "correct type_url at line \(typeURL.position.line), or remove it")
            }
            resources.append(resource)
        }
    }

    fileprivate mutating func noteDuplicates(in resources: [HeldResource]) {
        var lines: [ResourceReference: ResourceOrigin] = [:]
        for resource in resources {
            for name in resource.names {
                guard let first = lines.updateValue(resource.origin, forKey: name) else { continue }
                guard case .file(_, let line) = resource.origin else { continue }
                refuse(
                    SourcePosition(line: line, column: 1), "",
                    "\(name.type) \"\(name.name)\" is defined twice: \(first) and \(resource.origin)",
                    mend: "remove or rename one of them")
            }
        }
    }

    private mutating func refuse(_ position: SourcePosition, _ path: String, _ words: String, mend: String) {
        note(ResourceProblem(file: file, position: position, path: path, words, mend: mend))
    }
}
