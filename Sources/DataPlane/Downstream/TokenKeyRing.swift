import Forwarding
import HTTP
import Reactor
import Time

/// The keys of one filter that checks tokens, at one worker. It outlives the certificates of its listener: keys that are
/// there are not fetched again because those rotate.
final class TokenKeyRing {
    private unowned let worker: Worker
    private let listener: String
    private let tokens: TokenAuthentication
    private var keys: TokenKeys
    /// Who waits for a provider's keys.
    private var waiting: [Int: [() -> Void]] = [:]
    private var timer: TimerID?

    init(_ worker: Worker, _ tokens: TokenAuthentication, listener: String) {
        (self.worker, self.tokens, self.listener) = (worker, tokens, listener)
        keys = TokenKeys(tokens, now: worker.loop.now)
    }

    /// Fetches the keys whose time has come: those that are wanted before anybody asks, and those that are about to
    /// expire. Then waits for the next ones.
    func fetchDue() {
        for errand in keys.due(now: worker.loop.now) { run(errand) }
        arm()
    }

    private func arm() {
        if let timer { worker.loop.cancelTimer(timer) }
        timer = keys.deadline.map { deadline in
            worker.loop.schedule(at: deadline) { [weak self] _ in
                self?.timer = nil
                self?.fetchDue()
            }
        }
    }

    func decide(_ facts: RequestFacts, _ setting: TokenSetting?) -> TokenVerdict {
        tokens.decide(facts, route: setting, keys: &keys, now: worker.loop.now, date: .systemClock())
    }

    /// Fetches keys that a request waits for; `resume` is called when that is over, for good or ill.
    func fetch(_ provider: Int, _ resume: @escaping () -> Void) {
        waiting[provider, default: []].append(resume)
        if let errand = keys.errand(for: provider) { run(errand) }
    }

    private func run(_ errand: KeyErrand) {
        switch errand.source {
        case .given(let given):
            let bytes = try? GivenFiles.read(given)
            worker.later { [weak self] in self?.finish(errand, bytes) }
        case .request(let cluster, let head, let timeout):
            WorkerCall.send(
                head, body: [], to: worker.cluster(cluster), within: timeout, bodyLimit: 1 << 20, worker: worker
            ) { [weak self] outcome in
                if case .response(let head, let body, _) = outcome, head.value(of: ":status", equals: "200") {
                    self?.finish(errand, body)
                } else {
                    self?.finish(errand, nil)
                }
            }
        }
    }

    private func finish(_ errand: KeyErrand, _ bytes: [UInt8]?) {
        if let problem = keys.finish(errand, keys: bytes, now: worker.loop.now) {
            worker.logger.warning("listener \(listener): keys of tokens: \(problem)")
        }
        arm()
        for resume in waiting.removeValue(forKey: errand.provider) ?? [] { resume() }
    }
}
