import XDS

/// What a proxy finds out about itself where the command line is silent: variables, and files of the Kubernetes
/// downward API. Source: Istio, the sidecar's template; Kubernetes, "Expose Pod Information to Containers".
public struct Surroundings {
    private let environment: [String: String]
    private let readFile: (String) -> String?

    /// Where the labels of a pod are mounted, by Istio's template and by custom.
    public static let labelFiles = ["/etc/istio/pod/labels", "/etc/podinfo/labels"]
    public static let namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
    /// A file larger than this is not one of these.
    public static let longestFile = 256 << 10

    /// - Parameter readFile: nil for a file that is not there.
    public init(environment: [String: String], readFile: @escaping (String) -> String?) {
        self.environment = environment
        self.readFile = readFile
    }

    /// The first of these variables that is set and not empty.
    public func variable(_ names: String...) -> String? {
        names.lazy.compactMap { environment[$0] }.first { !$0.isEmpty }
    }

    public var namespace: String? {
        variable("POD_NAMESPACE", "NAMESPACE")
            ?? readFile(Self.namespaceFile).map { $0.filter { !$0.isWhitespace } }.flatMap { $0.isEmpty ? nil : $0 }
    }

    public var name: String? { variable("POD_NAME") }
    public var serviceAccount: String? { variable("SERVICE_ACCOUNT") }
    public var workload: String? { variable("ISTIO_META_WORKLOAD_NAME", "WORKLOAD_NAME") }
    public var interception: String? { variable("ISTIO_META_INTERCEPTION_MODE", "INTERCEPTION_MODE") }
    public var clusterID: String? { variable("ISTIO_META_CLUSTER_ID", "CLUSTER_ID") }
    public var trustDomain: String? { variable("TRUST_DOMAIN") }

    public var addresses: [String] {
        (variable("INSTANCE_IPS", "INSTANCE_IP", "POD_IP") ?? "").split(separator: ",").map(String.init)
    }

    /// `ISTIO_META_POD_PORTS`, as its JSON stands.
    public var podPorts: String? { variable("ISTIO_META_POD_PORTS") }

    /// Of the pod, from the downward API.
    public var labels: [String: String] {
        for path in Self.labelFiles {
            if let text = readFile(path) { return Self.labels(in: text) }
        }
        return [:]
    }

    /// Lines `key="value"`, with Go's escapes in the value. Lines of another form are left out.
    static func labels(in text: String) -> [String: String] {
        var labels: [String: String] = [:]
        for line in text.split(whereSeparator: \.isNewline) {
            guard let sign = line.firstIndex(of: "=") else { continue }
            let quoted = line[line.index(after: sign)...]
            guard quoted.count >= 2, quoted.first == "\"", quoted.last == "\"" else { continue }
            var value = ""
            var isEscaped = false
            for character in quoted.dropFirst().dropLast() {
                if isEscaped {
                    value.append(character == "n" ? "\n" : character == "t" ? "\t" : character)
                    isEscaped = false
                } else if character == "\\" {
                    isEscaped = true
                } else {
                    value.append(character)
                }
            }
            labels[String(line[..<sign])] = value
        }
        return labels
    }

    /// Every other `ISTIO_META_NAME`, as metadata `NAME`.
    public var furtherMetadata: [String: MetadataValue] {
        var metadata: [String: MetadataValue] = [:]
        for (name, value) in environment where name.hasPrefix("ISTIO_META_") && !value.isEmpty {
            metadata[String(name.dropFirst("ISTIO_META_".count))] = .string(value)
        }
        return metadata
    }
}
