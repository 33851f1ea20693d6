@testable import XDS

// What a trace shows of requests and responses.

extension Simulation {
    static func show(_ request: ModelClient.Request) -> String {
        switch request {
        case .delta(let request):
            let type = ResourceType(typeURL: request.typeURL)?.shortName ?? "-"
            return "\(type) +\(request.resourceNamesSubscribe) -\(request.resourceNamesUnsubscribe) "
                + "holds \(request.initialResourceVersions.keys.sorted()) nonce \(request.responseNonce) "
                + (request.errorDetail?.message ?? "")
        case .stateOfTheWorld(let request):
            let type = ResourceType(typeURL: request.typeURL)?.shortName ?? "-"
            return "\(type) \(request.resourceNames) version \(request.versionInfo.prefix(6)) "
                + "nonce \(request.responseNonce) \(request.errorDetail?.message ?? "")"
        }
    }

    static func show(_ response: PreparedResponse) -> String {
        let resources = show(response.resources)
        let removed = response.removedNames.map { "-\($0)" }
        let errors = response.errors.map { "\($0.name)!" }
        return
            "\(response.type) \(response.version.prefix(6)) nonce \(response.nonce)\(response.isHeartbeat ? "~" : "") "
            + ([resources] + removed + errors).joined(separator: " ")
    }

    static func show(_ resources: [Resource]) -> String {
        resources.map { "\($0.name)=\(String(decoding: $0.body, as: UTF8.self))" }.joined(separator: " ")
    }
}
