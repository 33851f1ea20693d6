extension MeshIndex {
    /// Routes that can never be taken, because earlier ones match everything that they match.
    ///
    /// Told only where it is certain: a match covers another if each of its conditions is implied by one of the other.
    /// Regular expressions are compared as texts. Of very long lists only the first 300 routes are compared.
    func shadowFindings(_ object: MeshObject, _ routes: [Istio.HTTPRoute]) -> [MeshFinding] {
        var findings: [MeshFinding] = []
        var earlier: [(route: Int, match: Istio.HTTPMatch?)] = []
        for (index, route) in routes.prefix(300).enumerated() {
            // A route without matches takes everything.
            let matches: [Istio.HTTPMatch?] = route.match.isEmpty ? [nil] : route.match
            let coverers = matches.map { match in earlier.first { covers($0.match, match) } }
            if coverers.allSatisfy({ $0 != nil }), let first = coverers.compactMap({ $0?.route }).min() {
                findings.append(
                    object.finding(
                        .warning, .shadowedRule, at: "spec.http[\(index)]",
                        "it is never taken: \(coverers.count == 1 ? "" : "every match of it is covered by earlier ones, ")"
                            + "spec.http[\(first)] takes these requests before it",
                        mend: "move it up, or remove it"))
            }
            if earlier.count < 2000 { earlier += matches.map { (index, $0) } }
        }
        return findings
    }

    /// Whether every request that the second takes is taken by the first; nil takes everything.
    private func covers(_ wide: Istio.HTTPMatch?, _ narrow: Istio.HTTPMatch?) -> Bool {
        guard let wide else { return true }
        guard let narrow else { return wide.takesEverything }
        return covers(wide.uri, narrow.uri, ignoresCase: wide.ignoresURICase, narrow.ignoresURICase)
            && covers(wide.scheme, narrow.scheme) && covers(wide.method, narrow.method)
            && covers(wide.authority, narrow.authority)
            && wide.headers.allSatisfy { covers($0.value, narrow.headers[$0.key]) }
            && wide.queryParameters.allSatisfy { covers($0.value, narrow.queryParameters[$0.key]) }
            && wide.withoutHeaders.allSatisfy { narrow.withoutHeaders[$0.key] == $0.value }
            && (wide.port == nil || wide.port == narrow.port)
            && wide.sourceLabels.allSatisfy { narrow.sourceLabels[$0.key] == $0.value }
            && (wide.sourceNamespace == nil || wide.sourceNamespace == narrow.sourceNamespace)
            && (wide.gateways.isEmpty
                || (!narrow.gateways.isEmpty && Set(narrow.gateways).isSubset(of: wide.gateways)))
    }

    private func covers(
        _ wide: Istio.StringMatch?, _ narrow: Istio.StringMatch?, ignoresCase wideIgnores: Bool = false,
        _ narrowIgnores: Bool = false
    ) -> Bool {
        guard let wide else { return true }
        guard let narrow else {
            // Every path begins with a slash.
            return wide == .prefix("/") || wide == .prefix("")
        }
        guard !narrowIgnores || wideIgnores else { return false }
        func folded(_ text: String) -> String { wideIgnores ? text.lowercased() : text }
        switch (wide, narrow) {
        case (.present, _): return true
        case (.exact(let one), .exact(let other)): return folded(one) == folded(other)
        case (.prefix(let one), .exact(let other)), (.prefix(let one), .prefix(let other)):
            return folded(other).hasPrefix(folded(one))
        case (.regex(let one), .regex(let other)): return one == other
        case (.regex(".*"), _): return true
        default: return false
        }
    }
}

extension Istio.HTTPMatch {
    fileprivate var takesEverything: Bool {
        [scheme, method, authority].allSatisfy { $0 == nil }
            && (uri == nil || uri == .prefix("/") || uri == .prefix("")) && headers.isEmpty && withoutHeaders.isEmpty
            && queryParameters.isEmpty && port == nil && sourceLabels.isEmpty && sourceNamespace == nil
            && gateways.isEmpty
    }
}
