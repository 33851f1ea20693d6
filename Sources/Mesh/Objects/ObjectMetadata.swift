/// Labels and annotations; the name is in the ``ObjectKey``.
public struct ObjectMetadata: Hashable, Sendable {
    public var labels: [String: String]
    public var annotations: [String: String]
    /// RFC 3339, as the cluster wrote it: which of two that claim one thing is older.
    public var creationTimestamp: String?

    public init(labels: [String: String] = [:], annotations: [String: String] = [:], creationTimestamp: String? = nil) {
        self.labels = labels
        self.annotations = annotations
        self.creationTimestamp = creationTimestamp
    }

    /// What a cluster adds: legal, and nothing to a mesh.
    static let ignored = [
        "uid", "resourceVersion", "generation", "deletionTimestamp", "deletionGracePeriodSeconds", "managedFields",
        "ownerReferences", "finalizers", "selfLink",
    ]

    init(_ fields: inout ObjectFields) {
        labels = fields.map("labels", keys: .labelKey, values: .labelValue)
        annotations = fields.map("annotations", keys: .labelKey)
        creationTimestamp = fields.optional("creationTimestamp")
        fields.ignore(Self.ignored)
    }
}

/// `metadata` of an object, with its name.
struct NamedMetadata: ObjectPart {
    var name: String
    var namespace: String?
    var common: ObjectMetadata

    init(_ fields: inout ObjectFields) {
        name = fields.requiredText("name", .subdomain)
        namespace = fields.text("namespace", .label)
        common = ObjectMetadata(&fields)
    }
}

/// `metadata` of a pod template: labels and annotations; a name means nothing there.
struct TemplateMetadata: ObjectPart {
    var common: ObjectMetadata

    init(_ fields: inout ObjectFields) {
        common = ObjectMetadata(&fields)
        fields.ignore(["name", "namespace", "generateName"])
    }
}
