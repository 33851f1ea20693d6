/// MT19937, for the one place where Envoy's choice follows from it: where a key goes whose host is overloaded.
/// Source: Matsumoto, Nishimura, "Mersenne Twister", 1998.
struct MersenneTwister {
    private var state: [UInt32]
    private var index = 624

    init(seed: UInt32) {
        state = [UInt32](repeating: seed, count: 624)
        for place in 1..<624 {
            let before = state[place - 1]
            state[place] = 1_812_433_253 &* (before ^ (before >> 30)) &+ UInt32(place)
        }
    }

    mutating func next() -> UInt32 {
        if index == 624 { twist() }
        var value = state[index]
        index += 1
        value ^= value >> 11
        value ^= (value << 7) & 0x9D2C_5680
        value ^= (value << 15) & 0xEFC6_0000
        return value ^ (value >> 18)
    }

    private mutating func twist() {
        for place in 0..<624 {
            let mixed = (state[place] & 0x8000_0000) | (state[(place + 1) % 624] & 0x7FFF_FFFF)
            let odd: UInt32 = mixed & 1 == 1 ? 0x9908_B0DF : 0
            state[place] = state[(place + 397) % 624] ^ (mixed >> 1) ^ odd
        }
        index = 0
    }

    /// A number under `bound`, each as likely.
    mutating func below(_ bound: UInt32) -> UInt32 {
        let width = (1 << 32) / UInt64(bound)
        while true {
            let value = UInt64(next()) / width
            if value < UInt64(bound) { return UInt32(value) }
        }
    }
}
