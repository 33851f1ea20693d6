import Addresses
import Documents
import Mesh
import XDS

/// Metadata of a node, field by field; every value is bounded.
struct NodeFields {
    private let fields: [String: MetadataValue]

    init(_ fields: [String: MetadataValue]) {
        self.fields = fields
    }

    func text(_ field: String) throws(NodeClaimError) -> String? {
        switch fields[field] {
        case nil, .null: return nil
        case .string(let text):
            guard text.utf8.count <= NodeClaims.longestText else {
                throw .tooMuch(field: field, limit: NodeClaims.longestText)
            }
            return text.isEmpty ? nil : text
        default: throw .invalid(field: field, problem: "it is no text")
        }
    }

    func mapping(_ field: String) throws(NodeClaimError) -> NodeFields {
        switch fields[field] {
        case nil, .null: return NodeFields([:])
        case .object(let object): return NodeFields(object)
        default: throw .invalid(field: field, problem: "it is no mapping")
        }
    }

    func labels(_ field: String) throws(NodeClaimError) -> [String: String] {
        let mapping = try mapping(field)
        guard mapping.fields.count <= NodeClaims.mostLabels else {
            throw .tooMuch(field: field, limit: NodeClaims.mostLabels)
        }
        var labels: [String: String] = [:]
        for (key, value) in mapping.fields {
            guard case .string(let text) = value else { throw .invalid(field: field, problem: "a value is no text") }
            guard key.utf8.count <= 317, key.split(separator: "/").allSatisfy({ NodeClaims.isName(String($0)) }),
                text.isEmpty || (text.utf8.count <= 63 && NodeClaims.isName(text))
            else { throw .invalid(field: field, problem: "`\(key.prefix(60))` or its value is no label") }
            labels[key] = text
        }
        return labels
    }

    /// `10.0.0.1,10.0.0.2`
    func addresses(_ field: String) throws(NodeClaimError) -> [String] {
        guard case .string(let text)? = fields[field], !text.isEmpty else { return [] }
        guard text.utf8.count <= 48 * NodeClaims.mostAddresses else {
            throw .tooMuch(field: field, limit: NodeClaims.mostAddresses)
        }
        var addresses: [String] = []
        for part in text.split(separator: ",") {
            addresses.append(try Self.address(String(part.filter { $0 != " " }), field))
        }
        guard addresses.count <= NodeClaims.mostAddresses else {
            throw .tooMuch(field: field, limit: NodeClaims.mostAddresses)
        }
        return addresses
    }

    func address(_ field: String) throws(NodeClaimError) -> String? {
        guard let text = try text(field) else { return nil }
        return try Self.address(text, field)
    }

    private static func address(_ text: String, _ field: String) throws(NodeClaimError) -> String {
        guard IPAddress(text) != nil else {
            throw .invalid(field: field, problem: "`\(text.prefix(60))` is no address")
        }
        return text
    }

    /// `[{"name": "http", "containerPort": 9080, "protocol": "TCP"}]`, as a list or as JSON in a text.
    func ports(_ field: String) throws(NodeClaimError) -> [Kubernetes.ContainerPort] {
        let entries: [(name: String?, number: Int?, transport: String?)]
        switch fields[field] {
        case nil, .null: return []
        case .list(let list):
            entries = list.prefix(NodeClaims.mostPorts + 1).map { entry in
                guard case .object(let port) = entry else { return (nil, nil, nil) }
                return (port["name"]?.text, port["containerPort"]?.whole, port["protocol"]?.text)
            }
        case .string(let text):
            guard text.utf8.count <= 256 * NodeClaims.mostPorts,
                case .sequence(let list, _)? = try? DocumentNode.parseJSON(text.isEmpty ? "[]" : text)
            else { throw .invalid(field: field, problem: "it is no list of ports in JSON") }
            entries = list.prefix(NodeClaims.mostPorts + 1).map { port in
                (port["name"]?.text, port["containerPort"]?.text.flatMap { Int($0) }, port["protocol"]?.text)
            }
        default: throw .invalid(field: field, problem: "it is no list of ports")
        }
        guard entries.count <= NodeClaims.mostPorts else {
            throw .tooMuch(field: field, limit: NodeClaims.mostPorts)
        }
        var ports: [Kubernetes.ContainerPort] = []
        for entry in entries {
            guard let number = entry.number, (1...65_535).contains(number),
                (entry.name?.utf8.count ?? 0) <= NodeClaims.longestText
            else { throw .invalid(field: field, problem: "a port has no number from 1 to 65535") }
            let transport = entry.transport.flatMap { Kubernetes.ServicePort.Transport(rawValue: $0) } ?? .tcp
            ports.append(Kubernetes.ContainerPort(name: entry.name, port: number, transport: transport))
        }
        return ports
    }
}

extension MetadataValue {
    fileprivate var text: String? {
        if case .string(let text) = self { text } else { nil }
    }

    fileprivate var whole: Int? {
        if case .number(let number) = self { Int(exactly: number) } else { nil }
    }
}

extension DocumentNode {
    fileprivate var text: String? {
        if case .scalar(let scalar) = self { scalar.text } else { nil }
    }
}
