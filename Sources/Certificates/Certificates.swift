import Identity
import Time
