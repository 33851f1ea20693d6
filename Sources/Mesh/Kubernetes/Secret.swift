import Documents

extension Kubernetes.Secret {
    /// Unlike most objects, a Secret has no spec.
    init(_ fields: inout ObjectFields) {
        type = fields.value("type", default: "Opaque")
        let encoded = fields.map("data")
        let plain = fields.map("stringData")
        content = [:]
        for (key, text) in encoded {
            guard let bytes = bytes(base64: text) else {
                fields.place.field("data").key(key).fail(
                    .invalidValue, at: fields.position(of: "data", key: key), "it is no Base64",
                    mend: "encode it, or move it to `stringData`")
                continue
            }
            content[key] = bytes
        }
        for (key, text) in plain { content[key] = Array(text.utf8) }
        fields.ignore(["immutable"])
        guard type == Self.tlsType else { return }
        for key in ["tls.crt", "tls.key"] where content[key] == nil && encoded[key] == nil {
            fields.place.fail(
                .missingField, at: fields.position(of: "type"), "a \(Self.tlsType) Secret has `\(key)`",
                mend: "add it to `data` (Base64) or `stringData`")
        }
    }
}
