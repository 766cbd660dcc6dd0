from kettle import CUP_SIZE, total_water, left_over

def check(name, got, expected):
    if got != expected:
        print(f"FAIL {name}: got {got}, expected {expected}")
        raise SystemExit(1)

check("CUP_SIZE", CUP_SIZE, 25)
check("total_water", total_water(8, 3), 24)
check("left_over", left_over(9, 4), 5)
print("ok")
