import Documents
import Mesh
import Testing

/// The objects of a text; a refusal fails the test with its words.
func read(_ text: String, file: String? = nil, sourceLocation: SourceLocation = #_sourceLocation) -> [MeshObject] {
    do throws(ObjectErrors) {
        return try ObjectText(Array(text.utf8), file: file).objects
    } catch {
        Issue.record("refused: \(error)", sourceLocation: sourceLocation)
        return []
    }
}

/// The errors of a text, one a line: `LINE: PATH: WORDS`.
func errors(_ text: String, file: String? = nil) -> [String] {
    errors(Array(text.utf8), file: file)
}

func errors(_ bytes: [UInt8], file: String? = nil, limits: TextLimits = .standard) -> [String] {
    do throws(ObjectErrors) {
        _ = try ObjectText(bytes, file: file, limits: limits)
        return []
    } catch {
        return error.findings.map(line) + (error.omitted > 0 ? ["and \(error.omitted) more"] : [])
    }
}

func line(_ finding: MeshFinding) -> String {
    [finding.position.map { "\($0.line)" } ?? "-", finding.path, finding.words].filter { !$0.isEmpty }
        .joined(separator: ": ")
}

/// An Istio object with a spec, which begins on line 6.
func object(_ kind: ObjectKind, _ spec: String, name: String = "test", namespace: String = "default") -> String {
    let body = spec.split(separator: "\n", omittingEmptySubsequences: false).map { "  " + $0 }.joined(separator: "\n")
    return """
        apiVersion: \(kind.apiVersion)
        kind: \(kind.name)
        metadata: {name: \(name)\(kind.isNamespaced ? ", namespace: \(namespace)" : "")}
        # a comment

        spec:
        \(body)

        """
}

func index(_ texts: String...) -> MeshIndex {
    MeshIndex(texts.flatMap { read($0) })
}

/// Three versions of a service, as expected workloads.
let bookshop = """
    apiVersion: v1
    kind: Service
    metadata: {name: reviews}
    spec:
      selector: {app: reviews}
      ports: [{port: 9080, name: http}]
    ---
    apiVersion: v1
    kind: Service
    metadata: {name: ratings}
    spec:
      selector: {app: ratings}
      ports: [{port: 9080, name: http, targetPort: web}]
    ---
    apiVersion: v1
    kind: ServiceAccount
    metadata: {name: readers}
    ---
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: reviews-v1}
    spec:
      selector: {matchLabels: {app: reviews, version: v1}}
      template:
        metadata: {labels: {app: reviews, version: v1}}
        spec:
          serviceAccountName: readers
          containers: [{name: reviews, image: reviews, ports: [{containerPort: 9080}]}]
    ---
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: ratings-v1}
    spec:
      selector: {matchLabels: {app: ratings}}
      template:
        metadata: {labels: {app: ratings}}
        spec: {containers: [{name: ratings, image: ratings, ports: [{containerPort: 8080, name: web}]}]}
    ---
    apiVersion: networking.istio.io/v1
    kind: DestinationRule
    metadata: {name: reviews}
    spec:
      host: reviews
      subsets: [{name: v1, labels: {version: v1}}]
    """
