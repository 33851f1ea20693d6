import Certificates
import HTTP
import Time

/// Keys that somebody has to bring: over the network, or from this machine.
public struct KeyErrand: Sendable {
    public enum Source: Sendable {
        /// A GET to a cluster.
        case request(cluster: String, head: HeaderList, timeout: Duration)
        case given(GivenBytes)
    }

    public let provider: Int
    public let source: Source
}

/// The keys of one filter's providers and the tokens that they signed: a worker has one. Errands are for the world to
/// run; what came of each is told by ``finish(_:keys:now:)``.
public struct TokenKeys: Sendable {
    private struct Slot: Sendable {
        var keys: TokenKeySet?
        var expiry: Instant?
        var isUnderWay = false
        /// Until then nobody tries again.
        var quietUntil: Instant?
        /// Of keys that are fetched before they are asked for.
        var nextFetch: Instant?
    }

    private struct Verified: Hashable, Sendable {
        var provider: Int
        var token: [UInt8]
    }

    private let filter: TokenAuthentication
    private var slots: [Slot]
    private var verified: [Verified: WebToken] = [:]
    /// In the order in which they came; the oldest goes first.
    private var order: [Verified] = []
    private var oldest = 0

    /// How soon before their end keys are fetched anew. Source: Envoy, `kRefetchBeforeExpiredSec`.
    private static let head: Duration = .seconds(5)

    public init(_ filter: TokenAuthentication, now: Instant) {
        self.filter = filter
        slots = filter.providers.map { provider in
            switch provider.keys {
            case .own(let keys): Slot(keys: keys)
            case .given: Slot(nextFetch: now)
            case .remote(let remote): Slot(nextFetch: remote.retryAfter == nil ? nil : now)
            }
        }
    }

    /// How many verified tokens are remembered.
    public var rememberedCount: Int { verified.count }

    /// When ``due(now:)`` has something again; nil: not before somebody asks.
    public var deadline: Instant? { slots.compactMap { $0.isUnderWay ? nil : $0.nextFetch }.min() }

    /// The errands whose time has come. Each is given once, until it is finished.
    public mutating func due(now: Instant) -> [KeyErrand] {
        slots.indices.compactMap { index in
            guard let time = slots[index].nextFetch, time <= now, !slots[index].isUnderWay else { return nil }
            return start(index)
        }
    }

    /// The errand for keys that a request waits for; nil: it is under way.
    public mutating func errand(for provider: Int) -> KeyErrand? {
        slots[provider].isUnderWay ? nil : start(provider)
    }

    private mutating func start(_ index: Int) -> KeyErrand? {
        let source: KeyErrand.Source
        switch filter.providers[index].keys {
        case .own: return nil
        case .given(let bytes): source = .given(bytes)
        case .remote(let remote):
            source = .request(
                cluster: remote.cluster,
                head: HeaderList([
                    (":method", "GET"), (":scheme", remote.scheme), (":authority", remote.authority),
                    (":path", remote.path),
                ]), timeout: remote.timeout)
        }
        slots[index].isUnderWay = true
        return KeyErrand(provider: index, source: source)
    }

    /// - Parameter keys: what came, of a response with the status 200; nil: nothing did.
    /// - Returns: why it is of no use, for the log.
    @discardableResult
    public mutating func finish(_ errand: KeyErrand, keys bytes: [UInt8]?, now: Instant) -> String? {
        let index = errand.provider
        slots[index].isUnderWay = false
        var problem: String?
        do throws(CertificateError) {
            guard let bytes else { throw .keyInvalid(reason: "no keys came") }
            slots[index].keys = try TokenKeySet(jwks: bytes)
            slots[index].quietUntil = nil
            forgetTokens()
        } catch {
            problem = "\(error)"
        }
        let retry: Duration
        switch filter.providers[index].keys {
        case .remote(let remote):
            retry = remote.retryAfter ?? .seconds(1)
            if problem == nil { slots[index].expiry = now.advanced(by: remote.lifetime) }
            if remote.retryAfter == nil {
                slots[index].nextFetch = nil
            } else if problem == nil {
                slots[index].nextFetch = now.advanced(by: max(remote.lifetime - Self.head, .seconds(1)))
            } else {
                slots[index].nextFetch = now.advanced(by: retry)
            }
        case .given, .own:
            retry = .seconds(1)
            slots[index].nextFetch = problem == nil ? nil : now.advanced(by: retry)
        }
        if problem != nil { slots[index].quietUntil = now.advanced(by: retry) }
        return problem
    }

    /// A key that was taken away vouches for nothing, remembered or not.
    private mutating func forgetTokens() {
        verified = [:]
        order = []
        oldest = 0
    }

    enum Found {
        case keys(TokenKeySet)
        case waits
        case failed
    }

    func keys(of provider: Int, now: Instant) -> Found {
        let slot = slots[provider]
        if let keys = slot.keys, slot.expiry.map({ now < $0 }) ?? true { return .keys(keys) }
        if let quiet = slot.quietUntil, now < quiet { return .failed }
        return .waits
    }

    func remembered(_ token: [UInt8], of provider: Int) -> WebToken? {
        verified.isEmpty ? nil : verified[Verified(provider: provider, token: token)]
    }

    mutating func remember(_ token: WebToken, _ bytes: [UInt8], of provider: Int) {
        let settings = filter.providers[provider]
        guard bytes.count <= settings.cachedTokenBytes else { return }
        let key = Verified(provider: provider, token: bytes)
        guard verified.updateValue(token, forKey: key) == nil else { return }
        guard order.count >= filter.remembersTokens else {
            order.append(key)
            return
        }
        verified[order[oldest]] = nil
        order[oldest] = key
        oldest = (oldest + 1) % order.count
    }
}
