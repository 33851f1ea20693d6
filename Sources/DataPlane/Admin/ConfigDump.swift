import Certificates
import Documents
import EnvoyAPI
import Protobuf
import Time
import XDS

/// What a proxy holds, in the form of Envoy's `/config_dump`: envoy.admin.v3.ConfigDump. Keys and passwords are
/// replaced by `[redacted]`, wherever they stand.
struct ConfigDump {
    struct Entry {
        var type: ResourceType
        var resource: HeldResource
        /// nil: static.
        var updatedAt: Timestamp?
        var isWarming = false
        /// Some version of it was taken.
        var isHeld = true
        /// Why a newer version is not in use.
        var failure: String?
        /// Of that version.
        var refusedVersion = ""
        var refusedAt: Timestamp?
    }

    var entries: [Entry]
    /// What the proxy was started with.
    var node: XDS.Node

    /// Which part is wanted.
    struct Selection {
        /// `dynamic_listeners`, `dynamic_active_clusters`, …
        var resource: String?
        var includesEndpoints = false
        /// Of names.
        var isWanted: (String) -> Bool = { _ in true }
    }

    func json(_ selection: Selection) -> String {
        if let wanted = selection.resource {
            let items = Self.sections.flatMap { $0.lists }.filter { $0.name == wanted }
            guard let list = items.first, let section = Self.sections.first(where: { $0.type == list.type }) else {
                return "{}\n"
            }
            let type = "type.googleapis.com/envoy.admin.v3." + section.message + list.element
            let found = selected(list, selection).map { entry in
                node([("@type", text(type))] + members(entry, section, list))
            }
            return node([("configs", sequence(found))]).json() + "\n"
        }
        var configs = [bootstrap]
        for section in Self.sections where section.type != .endpoints || selection.includesEndpoints {
            var members: [(String, DocumentNode)] = [
                ("@type", text("type.googleapis.com/envoy.admin.v3." + section.message))
            ]
            for list in section.lists {
                let found = selected(list, selection)
                guard !found.isEmpty else { continue }
                members.append(
                    (list.name, sequence(found.map { node(self.members($0, section, list)) })))
            }
            configs.append(node(members))
        }
        return node([("configs", sequence(configs))]).json() + "\n"
    }

    // MARK: Envoy's sections

    private struct List {
        var name: String
        var type: ResourceType
        /// What its elements' type is called.
        var element: String
        var isStatic: Bool
        var isWarming: Bool
    }

    private struct Section {
        var type: ResourceType
        var message: String
        /// The field that has the resource.
        var field: String
        var lists: [List]
    }

    private static let sections: [Section] = [
        Section(
            type: .cluster, message: "ClustersConfigDump", field: "cluster",
            lists: [
                List(
                    name: "static_clusters", type: .cluster, element: ".StaticCluster", isStatic: true, isWarming: false
                ),
                List(
                    name: "dynamic_active_clusters", type: .cluster, element: ".DynamicCluster", isStatic: false,
                    isWarming: false),
                List(
                    name: "dynamic_warming_clusters", type: .cluster, element: ".DynamicCluster", isStatic: false,
                    isWarming: true),
            ]),
        Section(
            type: .endpoints, message: "EndpointsConfigDump", field: "endpoint_config",
            lists: [
                List(
                    name: "dynamic_endpoint_configs", type: .endpoints, element: ".DynamicEndpointConfig",
                    isStatic: false, isWarming: false)
            ]),
        Section(
            type: .listener, message: "ListenersConfigDump", field: "listener",
            lists: [
                List(
                    name: "static_listeners", type: .listener, element: ".StaticListener", isStatic: true,
                    isWarming: false),
                List(
                    name: "dynamic_listeners", type: .listener, element: ".DynamicListener", isStatic: false,
                    isWarming: false),
            ]),
        Section(
            type: .route, message: "RoutesConfigDump", field: "route_config",
            lists: [
                List(
                    name: "dynamic_route_configs", type: .route, element: ".DynamicRouteConfig", isStatic: false,
                    isWarming: false)
            ]),
        Section(
            type: .secret, message: "SecretsConfigDump", field: "secret",
            lists: [
                List(name: "static_secrets", type: .secret, element: ".StaticSecret", isStatic: true, isWarming: false),
                List(
                    name: "dynamic_active_secrets", type: .secret, element: ".DynamicSecret", isStatic: false,
                    isWarming: false),
            ]),
    ]

    private func selected(_ list: List, _ selection: Selection) -> [Entry] {
        entries.filter { entry in
            // A listener that warms is shown in one list with those that serve.
            entry.type == list.type && (entry.updatedAt == nil) == list.isStatic
                && (entry.isWarming == list.isWarming || entry.type == .listener)
                && selection.isWanted(entry.resource.name)
        }.sorted { $0.resource.name < $1.resource.name }
    }

    private func members(_ entry: Entry, _ section: Section, _ list: List) -> [(String, DocumentNode)] {
        var state: [(String, DocumentNode)] = []
        if !entry.resource.version.isEmpty { state.append(("version_info", text(entry.resource.version))) }
        if entry.isHeld { state.append((section.field, Self.document(entry))) }
        if entry.isHeld, let updatedAt = entry.updatedAt { state.append(("last_updated", text(updatedAt.utcText))) }
        var members: [(String, DocumentNode)]
        switch entry.type {
        case .listener where !list.isStatic:
            members = [("name", text(entry.resource.name))]
            if entry.isHeld { members.append((entry.isWarming ? "warming_state" : "active_state", node(state))) }
        // Only listeners and secrets have a name of their own there; of the others the resource has it.
        case .cluster where !entry.isHeld, .route where !entry.isHeld:
            members = [(section.field, node([("name", text(entry.resource.name))]))]
        case .endpoints where !entry.isHeld:
            members = [(section.field, node([("cluster_name", text(entry.resource.name))]))]
        case .secret: members = [("name", text(entry.resource.name))] + state
        default: members = state
        }
        if let failure = entry.failure {
            var error: [(String, DocumentNode)] = []
            if let refusedAt = entry.refusedAt { error.append(("last_update_attempt", text(refusedAt.utcText))) }
            error.append(("details", text(failure)))
            if !entry.refusedVersion.isEmpty { error.append(("version_info", text(entry.refusedVersion))) }
            members.append(("error_state", node(error)))
        }
        return members
    }

    private var bootstrap: DocumentNode {
        var fields: [(String, DocumentNode)] = [("id", text(node.id)), ("cluster", text(node.cluster))]
        fields.append(("metadata", Self.document(.object(node.metadata))))
        fields.append(("user_agent_name", text(node.userAgent)))
        return self.node([
            ("@type", text("type.googleapis.com/envoy.admin.v3.BootstrapConfigDump")),
            ("bootstrap", self.node([("node", self.node(fields))])),
        ])
    }

    private static func document(_ value: MetadataValue) -> DocumentNode {
        switch value {
        case .null: .scalar(DocumentScalar("null", .keyword))
        case .bool(let flag): .scalar(DocumentScalar("\(flag)", .keyword))
        case .number(let number):
            .scalar(DocumentScalar(Int64(exactly: number).map { "\($0)" } ?? "\(number)", .number))
        case .string(let text): .scalar(DocumentScalar(text, .quoted))
        case .list(let list): .sequence(list.map(document), at: nowhere)
        case .object(let fields):
            .mapping(
                fields.sorted { $0.key < $1.key }.map {
                    DocumentNode.Member(key: DocumentScalar($0.key, .quoted), value: document($0.value))
                }, at: nowhere)
        }
    }

    private static func document(_ entry: Entry) -> DocumentNode {
        guard let descriptor = entry.type.descriptor else { return .mapping([], at: nowhere) }
        let arena = Arena()
        do {
            let message = try arena.decode(descriptor, from: entry.resource.body, types: envoyTypes)
            let style = TextStyle(.json, showsUnknownTypes: true)
            guard case .mapping(let members, let place) = try Protobuf.document(of: message, style, types: envoyTypes)
            else { return .mapping([], at: nowhere) }
            let type = DocumentNode.Member(
                key: DocumentScalar("@type", .quoted), value: .scalar(DocumentScalar(descriptor.typeURL, .quoted)))
            return redacted(.mapping([type] + members, at: place))
        } catch {
            return .mapping([], at: nowhere)
        }
    }

    /// Fields that hold what nobody may see.
    private static let secretFields: Set<String> = [
        "private_key", "password", "session_ticket_keys", "generic_secret", "pkcs12", "hmac_secret", "token_secret",
    ]

    static func redacted(_ node: DocumentNode) -> DocumentNode {
        switch node {
        case .scalar: return node
        case .sequence(let elements, let place): return .sequence(elements.map(redacted), at: place)
        case .mapping(let members, let place):
            return .mapping(
                members.map { member in
                    guard secretFields.contains(member.key.text) else {
                        return DocumentNode.Member(key: member.key, value: redacted(member.value))
                    }
                    return DocumentNode.Member(key: member.key, value: .scalar(DocumentScalar("[redacted]", .quoted)))
                }, at: place)
        }
    }

    private static let nowhere = SourcePosition(line: 1, column: 1)

    private func text(_ text: String) -> DocumentNode { .text(text) }
    private func sequence(_ nodes: [DocumentNode]) -> DocumentNode { .list(nodes) }
    private func node(_ members: [(String, DocumentNode)]) -> DocumentNode { .object(members) }
}
